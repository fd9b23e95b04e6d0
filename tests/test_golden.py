"""Two tiny trainings run as they ran when their losses were written down.

`python -m tests.test_golden --write` writes down today's; do so only where a change of the numbers is meant, and say
in the commit why they change.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pytest

from favonius.train.objectives import DPO, SFT, Objective
from favonius.types import digest
from tests.tiny import save_tiny
from tests.training import settings, train, training_rows, write_dialogues, write_pairs

GOLDEN = Path(__file__).with_name("golden")
RUNS: dict[str, Objective] = {"sft": SFT(), "dpo": DPO(beta=0.3)}
EPOCHS = 2
ROWS = 20
BATCH = 4
STEPS = EPOCHS * ROWS // BATCH


def run(name: str, folder: Path) -> dict[str, object]:
    """What is written down of one training: its losses, and the digest of the token ids that it saw."""
    write = write_dialogues if name == "sft" else write_pairs
    rows = write(folder / "rows", ROWS)
    config = settings(RUNS[name], batch_size=BATCH, epochs=EPOCHS, learning_rate=5e-4)
    lines = train(folder / name, save_tiny(folder / "base"), rows, config).lines
    tokens = [one.ids for row in training_rows(rows, config) for one in row.tree.sequences]
    return {"tokens": digest(json.dumps(tokens)), "losses": [line["loss"] for line in lines]}


@pytest.mark.parametrize("name", RUNS)
def test_losses_are_those_that_were_written_down(name: str, tmp_path: Path) -> None:
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    found = run(name, tmp_path)
    assert found["tokens"] == golden["tokens"]
    assert len(golden["losses"]) == STEPS
    assert found["losses"] == pytest.approx(golden["losses"], rel=1e-5)


def write_all() -> None:
    GOLDEN.mkdir(exist_ok=True)
    for name in RUNS:
        with tempfile.TemporaryDirectory() as folder:
            (GOLDEN / f"{name}.json").write_text(json.dumps(run(name, Path(folder)), indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    write_all()
