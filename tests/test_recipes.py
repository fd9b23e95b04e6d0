"""The recipes that people copy: how many there are, that each runs whole, and that their numbers have sources."""

from __future__ import annotations

import gc
import io
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from favonius.engines import interview
from favonius.pipeline.work import Parts, run_recipe
from favonius.progress import Progress
from favonius.recipe import load_recipe
from favonius.run import WORK, Inputs, ModelRef, StepFolder, StepRef
from favonius.train import launch
from favonius.train.config import TrainConfig
from favonius.train.objectives import SFT
from favonius.trees import fused
from tests import stand_ins

RECIPES = Path(__file__).parent.parent / "recipes"
NAMES = tuple(sorted(path.stem for path in RECIPES.glob("*.yaml")))
PUBLISHED = tuple(name for name in NAMES if name.startswith(("zephyr-", "notus-", "smollm2-")))
"""Those that repeat what others have published."""
PAGES = ("own-topic", "zephyr-7b-beta")
"""Those whose page is drawn too."""


@pytest.fixture(scope="module")
def little(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("little")
    stand_ins.make(folder)
    gc.freeze()  # a run collects after each step, and would go through every imported module each time
    yield folder
    gc.unfreeze()


def test_there_are_so_many() -> None:
    assert len(NAMES) == 16
    assert sum(name.startswith("zephyr-7b") for name in NAMES) == 5


@pytest.mark.parametrize("name", NAMES)
def test_each_runs_whole(name: str, little: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAVONIUS_CACHE", str(little / "cache"))
    monkeypatch.setattr(interview, "open_engine", stand_ins.opened)
    monkeypatch.setattr(fused, "WORTH_COMPILING", 1 << 40)  # nothing here is
    path = RECIPES / f"{name}.yaml"
    sets = stand_ins.settings(path, little)
    recipe = load_recipe(path, sets, with_ablations=True)
    parts = Parts() if name in PAGES else Parts(report=lambda run: run)
    page = run_recipe(recipe, path, tmp_path / "run", Progress(io.StringIO()), overrides=sets, parts=parts)
    steps = recipe.without_ablations().steps
    assert all(StepFolder(tmp_path / "run" / step).manifest() is not None for step in steps)
    for step in (step for step, config in steps.items() if isinstance(config, TrainConfig)):
        stats = json.loads((tmp_path / "run" / step / "stats.json").read_text())
        assert stats["optimizer_steps"] >= 1 and stats["kept"] > 0
    assert name not in PAGES or "</svg>" in page.read_text()


# numbers and their sources


def numbers(name: str) -> Iterator[tuple[int, str]]:
    """Line, from 0, and text of every number that a training of the recipe, or a parameter, has."""
    document = yaml.compose((RECIPES / f"{name}.yaml").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    assert document is not None
    top = {key.value: value for key, value in document.value}
    steps = [step for _, step in top["steps"].value]
    trainings = [step for step in steps if {key.value: value.value for key, value in step.value}["stage"] == "train"]
    assert trainings
    for node in (*trainings, top["parameters"]):
        yield from _numbers(node)


def _numbers(node: yaml.Node) -> Iterator[tuple[int, str]]:
    if isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield from _numbers(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _numbers(value)
    elif re.fullmatch(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", node.value):
        yield node.start_mark.line, node.value


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_number_of_a_training_says_where_it_is_from(name: str) -> None:
    lines = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    found = list(numbers(name))
    assert len(found) >= 8
    silent = [
        f"{name}.yaml:{line + 1}: {number}"
        for line, number in found
        if "  # " not in lines[line] and not lines[line - 1].lstrip().startswith("# ")
    ]
    assert silent == []


def test_the_numbers_of_the_paper() -> None:
    steps = load_recipe(RECIPES / "zephyr-7b-beta.yaml").steps
    dsft, ddpo = steps["dsft"], steps["ddpo"]
    assert isinstance(dsft, TrainConfig) and isinstance(ddpo, TrainConfig)
    assert (dsft.epochs, dsft.batch_size, dsft.learning_rate, dsft.schedule) == (1, 512, 2e-5, "cosine")
    assert (ddpo.epochs, ddpo.batch_size, ddpo.learning_rate, ddpo.schedule) == (3, 32, 5e-7, "linear")
    assert (dsft.max_length, dsft.warmup_share, ddpo.warmup_share, ddpo.optimizer) == (2048, 0.1, 0.1, "rmsprop")
    assert ddpo.objective.model_dump()["beta"] == 0.1


def test_the_table_lists_them_all() -> None:
    table = (RECIPES / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[([a-z0-9-]+)\]\(\1\.yaml\) \|", table, re.MULTILINE)
    assert tuple(sorted(listed)) == NAMES


# clusters


@pytest.mark.parametrize("script", sorted((RECIPES / "launch").glob("*.sh")), ids=lambda path: path.name)
def test_a_launch_script_is_bash(script: Path) -> None:
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_skypilot_task_is_whole() -> None:
    task = yaml.safe_load((RECIPES / "launch" / "skypilot.yaml").read_text(encoding="utf-8"))
    assert (RECIPES.parent / task["envs"]["RECIPE"]).is_file()
    assert set(task) <= {"name", "num_nodes", "resources", "workdir", "volumes", "envs", "secrets", "setup", "run"}
    for script in (task["setup"], task["run"]):
        assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def cluster(folder: Path, **commands: str) -> dict[str, str]:
    """Environment of a Slurm job sent from `folder`, whose programs are the given shell scripts."""
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, script in commands.items():
        (programs / name).write_text(f"#!/usr/bin/env bash\n{script}\n")
        (programs / name).chmod(0o755)
    (folder / "recipes").symlink_to(RECIPES)
    return {"PATH": os.environ["PATH"], "SLURM_SUBMIT_DIR": str(folder), "SLURM_JOB_ID": "7"}


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline, file
        time.sleep(0.05)


SAVES = """\
echo "$@" > told
trap 'echo saved > checkpoint; exit 130' TERM
touch started
while true; do sleep 0.1; done"""


def test_a_slurm_job_that_is_asked_to_stop_saves_and_is_queued_again(tmp_path: Path) -> None:
    world = cluster(tmp_path, favonius=SAVES, scontrol='echo "$@" > queued')
    command = ["bash", str(RECIPES / "launch" / "slurm.sh"), "recipes/smoke.yaml", "--set", "steps.ddpo.epochs=2"]
    job = subprocess.Popen(command, env=world)
    wait_for(tmp_path / "started")
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=60) == 130
    assert (tmp_path / "checkpoint").exists()
    assert (tmp_path / "queued").read_text() == "requeue 7\n"
    assert (tmp_path / "told").read_text() == "run recipes/smoke.yaml --out runs/smoke --set steps.ddpo.epochs=2\n"


@pytest.mark.parametrize("code", [0, 1])
def test_a_slurm_job_that_ends_by_itself_is_not_queued_again(tmp_path: Path, code: int) -> None:
    world = cluster(tmp_path, favonius=f"exit {code}", scontrol="touch queued")
    command = ["bash", str(RECIPES / "launch" / "slurm.sh"), "recipes/smoke.yaml"]
    assert subprocess.run(command, env=world, check=False).returncode == code
    assert not (tmp_path / "queued").exists()


LEADS = """\
echo "$FAVONIUS_RENDEZVOUS $@" > told
for step in dsft ddpo; do
  mkdir -p runs/smoke/$step/work/processes
  echo "torchrun $step" > runs/smoke/$step/work/processes/join
  until [ -e joined-$step ]; do sleep 0.1; done
  rm -r runs/smoke/$step/work
done"""


def test_the_other_machines_join_one_training_after_the_other(tmp_path: Path) -> None:
    """And none that an earlier turn has left behind."""
    stale = tmp_path / "runs" / "smoke" / "dsft" / "work" / "processes" / "join"
    stale.parent.mkdir(parents=True)
    stale.write_text("torchrun stale\n")
    takes_part = 'touch "joined-$1"\nexec sleep 60'  # a training that the machine which leads has ended
    world = cluster(tmp_path, favonius=LEADS, torchrun=takes_part, srun='echo "$@" > sent\nshift 4\nexec "$@"')
    command = ["bash", str(RECIPES / "launch" / "slurm.sh"), "recipes/smoke.yaml"]
    done = subprocess.run(command, env=world | {"SLURM_NNODES": "3"}, timeout=100, check=False)
    assert done.returncode == 0
    assert (tmp_path / "sent").read_text().startswith("--relative=1 --nodes=2 --ntasks=2 --cpu-bind=none bash ")
    meeting, *told = (tmp_path / "told").read_text().split()
    assert meeting == f"{socket.gethostname()}:29400"
    assert told == ["run", "recipes/smoke.yaml", "--out", "runs/smoke", "--set", "nodes=3"]
    assert {path.name for path in tmp_path.glob("joined-*")} == {"joined-dsft", "joined-ddpo"}


def test_a_training_on_two_machines_leaves_the_command_of_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where join.sh looks for it."""
    monkeypatch.setattr(launch, "elastic_launch", lambda config, program: lambda *arguments: None)
    config = TrainConfig(model=ModelRef("base"), rows=StepRef("data"), objective=SFT(), processes=4, nodes=2)
    told = io.StringIO()
    launch.launch(launch.Job(config, Inputs({}, {}, {}), tmp_path / "dsft", tmp_path), Progress(told))
    (command,) = (path.read_text() for path in tmp_path.glob(f"*/{WORK}/processes/join"))
    assert command.startswith("torchrun --nnodes=2 --nproc-per-node=4 ") and command.endswith("job.json\n")
    assert command in told.getvalue()
