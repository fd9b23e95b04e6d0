"""Step folders and digests: what makes a step done, and what makes it another step."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from favonius.errors import UserError
from favonius.feedback.config import AnswersConfig, PoolMember
from favonius.files import replacing, write_text
from favonius.progress import Progress
from favonius.run import Context, Identity, LeftOpen, ModelRef, StepFolder, StepRef, locked, references
from favonius.types import digest

SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
CONFIGS = st.dictionaries(
    st.text(max_size=3),
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)),
    max_size=4,
)
IDENTITIES = st.builds(
    Identity,
    stage=st.sampled_from(["train", "pairs"]),
    version=st.integers(1, 3),
    config=CONFIGS,
    inputs=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
)
IDENTITY = Identity(stage="train", version=1, config={"epochs": 1}, inputs={"rows": "abc"})


def backwards(value: Any) -> Any:
    """The same value with the keys of every mapping the other way round."""
    if isinstance(value, dict):
        return {key: backwards(item) for key, item in reversed(value.items())}
    return [backwards(item) for item in value] if isinstance(value, list) else value


@given(CONFIGS)
def test_a_digest_does_not_depend_on_key_order(config: dict[str, Any]) -> None:
    assert digest(config) == digest(backwards(config))


@given(CONFIGS)
def test_a_digest_survives_json(config: dict[str, Any]) -> None:
    assert digest(json.loads(json.dumps(config))) == digest(config)


@given(IDENTITIES, IDENTITIES)
def test_identities_are_equal_where_their_digests_are(one: Identity, other: Identity) -> None:
    same = json.dumps(one.model_dump(), sort_keys=True) == json.dumps(other.model_dump(), sort_keys=True)
    assert (one.digest() == other.digest()) == same


@given(IDENTITIES, st.data())
def test_any_changed_field_changes_the_digest(identity: Identity, data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(["stage", "version", "config", "inputs"]))
    changed = {
        "stage": identity.stage + "x",
        "version": identity.version + 1,
        "config": identity.config | {"added": 1},
        "inputs": identity.inputs | {"added": "1"},
    }
    assert identity.model_copy(update={field: changed[field]}).digest() != identity.digest()


def test_a_digest_refuses_what_json_cannot_say() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest({"rate": float("nan")})


def made(folder: Path, identity: Identity = IDENTITY, text: str = "rows") -> StepFolder:
    step = StepFolder(folder)
    attempt = step.begin(identity)
    write_text(folder / "rows.jsonl", text)
    write_text(folder / "model" / "weights", "w")
    write_text(folder / "stats.json", "{}")
    write_text(folder / "metrics.jsonl", "{}")
    write_text(folder / "work" / "checkpoint", "half")
    step.finish(identity, attempt, 1.0)
    return step


def test_a_finished_step_names_its_outputs_and_drops_its_work(tmp_path: Path) -> None:
    step = made(tmp_path / "step")
    manifest = step.manifest()
    assert manifest is not None
    assert sorted(manifest.outputs) == ["model/weights", "rows.jsonl"]
    assert not (tmp_path / "step" / "work").exists()
    assert manifest.identity == IDENTITY.digest()


def test_outputs_are_known_by_content_alone(tmp_path: Path) -> None:
    same, again, other = made(tmp_path / "a"), made(tmp_path / "b"), made(tmp_path / "c", text="other rows")
    digests = [manifest.output_digest() for step in (same, again, other) if (manifest := step.manifest())]
    assert digests[0] == digests[1] != digests[2]


def test_what_was_stopped_goes_on_with_its_work(tmp_path: Path) -> None:
    step = StepFolder(tmp_path / "step")
    assert step.begin(IDENTITY) == 1
    write_text(step.path / "work" / "checkpoint", "half")
    assert step.manifest() is None
    (step.path / ".rows.jsonl.123.tmp").write_text("a kill inside `replacing` leaves this")
    assert step.begin(IDENTITY) == 2
    assert (step.path / "work" / "checkpoint").read_text() == "half"
    assert step.outputs() == []


@pytest.mark.parametrize("finished", [False, True])
def test_another_identity_starts_afresh(tmp_path: Path, finished: bool) -> None:
    step = made(tmp_path / "step") if finished else StepFolder(tmp_path / "step")
    if not finished:
        step.begin(IDENTITY)
        write_text(step.path / "rows.jsonl", "half")
    other = IDENTITY.model_copy(update={"version": 2})
    assert step.begin(other) == 1
    assert step.outputs() == []
    assert step.manifest() is None
    assert step.identity() == other


def test_a_finished_step_that_is_begun_again_starts_afresh(tmp_path: Path) -> None:
    step = made(tmp_path / "step")
    assert step.begin(IDENTITY) == 1
    assert step.outputs() == []


def test_a_half_written_file_never_takes_its_name(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_text(target, "old")
    with pytest.raises(RuntimeError), replacing(target) as temporary:
        temporary.write_text("new, cut o")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_held_folder_is_refused_and_a_dead_holder_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib\nfrom favonius.run import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(UserError, match="another run is at work in this folder"), locked(tmp_path):
                pass
        finally:
            holder.kill()
    with locked(tmp_path):
        pass


def test_references_are_found_at_any_depth() -> None:
    config = AnswersConfig(
        prompts=StepRef("dialogues"),
        pool={"a": PoolMember(model=ModelRef("base")), "b": PoolMember(model=ModelRef("dsft"))},
    )
    found = list(references(config))
    assert found == ["dialogues", "base", "dsft"]
    assert [type(reference) for reference in found] == [StepRef, ModelRef, ModelRef]


def test_what_parts_of_a_step_left_open_is_told_once_for_each_cause(tmp_path: Path) -> None:
    left = [LeftOpen("failures", 4), LeftOpen("budget", 1, "$2.00"), LeftOpen("failures", 1_000)]
    assert Context(tmp_path, Progress(), left_open=left).still_open() == [
        "1,004 requests failed and are asked again in the next run",
        "the budget of $2.00 is spent and 1 request was not asked",
    ]
