"""IFEval as a benchmark: prompts whose instructions a program checks in the model's answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Self

from favonius.data.checks import Drops, flaws
from favonius.data.raw import RawRow
from favonius.data.sources import open_rows, source_name
from favonius.errors import UserError
from favonius.evals.benchmarks.config import IFEval
from favonius.evals.benchmarks.rows import drawn, row_of
from favonius.evals.benchmarks.task import Desk, Item, Metric, Said, Scored
from favonius.evals.ifeval import score
from favonius.evals.ifeval.rows import Answered, Task, read_tasks
from favonius.run import Inputs
from favonius.types import Message

BUILT_IN = "favonius"
"""Our own prompts, as results name them."""
OWN_PROMPTS = (
    "The prompts are Favonius's own and not IFEval's: the numbers compare models and say nothing beside published ones."
)
METRICS = (
    Metric(key="prompt_strict", title="prompts followed, strict"),
    Metric(key="instruction_strict", title="instructions followed, strict"),
    Metric(key="prompt_loose", title="prompts followed, loose"),
    Metric(key="instruction_loose", title="instructions followed, loose"),
)
SOUND = Metric(key="prompt_sound", title="prompts followed, strict, by an answer that neither loops nor leaks markers")
"""Beyond the protocol: a base model that writes the prompt again and again follows many an instruction by that."""
UNSOUND = frozenset({"loop", "leak"})


@dataclass(frozen=True)
class IFEvalTask:
    """An `AskedTask`. `tasks` are the prompts that are asked, by item id."""

    config: IFEval
    questions: str
    tasks: Mapping[str, Task]
    left_out: Drops

    name = "ifeval"
    title = "IFEval"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The published headline comes first, but of our own prompts, which nothing is published about."""
        return (SOUND, *METRICS) if self.questions == BUILT_IN else (*METRICS, SOUND)

    @classmethod
    def of(cls, config: IFEval, inputs: Inputs) -> Self:
        """Prompts that cannot be checked are left out and counted. UserError where none is left."""
        left_out = Drops()
        if config.prompts is None:
            questions, found = BUILT_IN, built_in()
        else:
            path = inputs.file(config.prompts)
            questions, found = source_name(str(path)), _tasks(open_rows(str(path)), left_out)
        if not found:
            causes = ", ".join(f"{cause} × {count:,}" for cause, count in left_out.counts.items())
            raise UserError(f"{config.prompts}: no prompt that can be checked ({causes or 'no rows'})")
        tasks = dict(drawn(list(_by_id(found).items()), config.limit, config.seed))
        return cls(config, questions, tasks, left_out)

    @property
    def texts(self) -> list[str]:
        return [task.prompt for task in self.tasks.values()]

    def items(self) -> list[Item]:
        return [
            Item(
                id=name,
                messages=(Message(role="user", content=task.prompt),),
                sampling=self.config.sampling,
                about={"instructions": list(task.names)},
            )
            for name, task in self.tasks.items()
        ]

    def scored(self, said: Sequence[Said], desk: Desk) -> Scored:
        """By rules alone. Each instruction counts alike in the two shares of instructions."""
        found = [score.score(Answered(self.tasks[one.item.id], one.turns[0].text)) for one in said]
        rows = []
        for one, checked in zip(said, found, strict=True):
            strict, loose = checked.strict, checked.loose
            scores = {
                "prompt_strict": float(all(strict)),
                "instruction_strict": sum(strict) / len(strict),
                "prompt_loose": float(all(loose)),
                "instruction_loose": sum(loose) / len(loose),
                "prompt_sound": float(all(strict) and not UNSOUND & {*flaws(one.turns[0].text, one.turns[0].finished)}),
            }
            weights = dict.fromkeys(("instruction_strict", "instruction_loose"), float(len(strict)))
            rows.append(row_of(one, scores, weights=weights, note=_not_followed(checked)))
        return Scored(
            rows=rows,
            protocol={
                "instructions": sum(len(one.strict) for one in found),
                "by_instruction": score.by_instruction(found),
            },
            left_out=self.left_out,
            notes=(OWN_PROMPTS,) if self.questions == BUILT_IN else (),
        )


def built_in() -> list[Task]:
    """The prompts of favonius/evals/ifeval/builtin/prompts.jsonl, which cover all 25 kinds of instruction."""
    with as_file(files("favonius.evals.ifeval") / "builtin" / "prompts.jsonl") as path:
        return _tasks(open_rows(str(path)), Drops())


def _tasks(rows: Iterable[RawRow], left_out: Drops) -> list[Task]:
    return list(read_tasks(rows, left_out)[0].values())


def _by_id(tasks: Sequence[Task]) -> dict[str, Task]:
    """By the data set's own key; prompts without one, or with another's, by their place too."""
    named: dict[str, Task] = {}
    for number, task in enumerate(tasks, start=1):
        name = f"prompt {number}" if task.key is None else str(task.key)
        named[name if name not in named else f"{name}, prompt {number}"] = task
    return named


def _not_followed(checked: score.Scored) -> str | None:
    """What a reader looks for first."""
    names = [name for name, kept in zip(checked.task.names, checked.strict, strict=True) if not kept]
    return f"not followed: {', '.join(names)}" if names else None
