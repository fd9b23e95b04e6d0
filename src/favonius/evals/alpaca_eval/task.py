"""AlpacaEval as a task: how often a judge prefers a model's answer to the reference's, with length control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from favonius.data.checks import Drops
from favonius.data.rows import json_line
from favonius.engines.interview import interview
from favonius.errors import UserError
from favonius.evals.alpaca_eval.bouts import Bout, Verdicts, Word
from favonius.evals.alpaca_eval.difficulty import Difficulty, fit_difficulty
from favonius.evals.alpaca_eval.house_judges import judged
from favonius.evals.alpaca_eval.instructions import Instructions, read_instructions
from favonius.evals.alpaca_eval.known_difficulty import read_difficulty
from favonius.evals.alpaca_eval.preferences import Preferences, read_preferences
from favonius.evals.alpaca_eval.ranking import ranked, template_of
from favonius.evals.alpaca_eval.scores import remarks, scores
from favonius.evals.benchmarks.asking import ask
from favonius.evals.benchmarks.config import AlpacaEval, RankingJudge
from favonius.evals.benchmarks.rows import row_of
from favonius.evals.benchmarks.task import Desk, Item, ItemRow, Metric, Said, Scored
from favonius.files import write_text
from favonius.run import Inputs
from favonius.types import Message

PREFERENCE = Metric(key="preference", title="win rate")
PREFERENCES = "preferences.jsonl"
"""Rows that `favonius eval alpacaeval score` reads."""
SILENT = "no word from the judge: "
NO_BASELINE = "no answer of the baseline: "


@dataclass(frozen=True)
class AlpacaEvalTask:
    """An `AskedTask`. `difficulty` is None where it is fitted from what is judged, or not used."""

    config: AlpacaEval
    instructions: Instructions
    difficulty: Difficulty | None = None

    name = "alpacaeval"
    metrics = (PREFERENCE,)

    @classmethod
    def of(cls, config: AlpacaEval, inputs: Inputs) -> Self:
        """UserError where a file is not what it should be: before anything is asked."""
        instructions = read_instructions(config, inputs)
        if isinstance(config.judge, RankingJudge):
            template_of(config.judge, inputs)
        if config.difficulty is None:
            return cls(config, instructions)
        if config.evaluation_version == 1:
            raise UserError("difficulty is of version 2's length control; leave it out, or say evaluation_version: 2")
        return cls(config, instructions, read_difficulty(inputs.file(config.difficulty), [instructions.whole_set()]))

    @property
    def title(self) -> str:
        return "AlpacaEval" if self.config.evaluation_version == 1 else "AlpacaEval 2"

    @property
    def questions(self) -> str:
        return self.instructions.source

    @property
    def texts(self) -> Sequence[str]:
        return [one.text for one in self.instructions.asked]

    def items(self) -> Sequence[Item]:
        return [
            Item(
                id=one.id,
                messages=(Message(role="user", content=one.text),),
                sampling=self.config.sampling,
                category=one.category,
                about={} if one.reference is None else {"reference": one.reference},
            )
            for one in self.instructions.asked
        ]

    def scored(self, said: Sequence[Said], desk: Desk) -> Scored:
        """A row per instruction that was judged. Those that the baseline or the judge did not answer are left out and
        counted, and come again in the next run."""
        left_out = Drops()
        left_out.absorb(self.instructions.left_out)
        bouts = self._bouts(said, desk, left_out)
        verdicts = self._verdicts(bouts, desk)
        rows, preferences = list[ItemRow](), list[dict[str, Any]]()
        for bout, word in zip(bouts, verdicts.words, strict=True):
            if word.silent:
                left_out.add(f"{SILENT}{word.why}", bout.instruction.text)
            else:
                rows.append(_row(bout, word))
                preferences.append(_preference(bout, word, desk.label))
        write_text(desk.folder / PREFERENCES, "".join(map(json_line, preferences)))
        found, notes = self._reckoned(desk) if preferences else ({}, [])
        return Scored(
            rows=rows,
            judge=verdicts.judge,
            protocol={
                "evaluation_version": self.config.evaluation_version,
                "reference": self._reference(desk),
                **verdicts.protocol,
                **found,
            },
            left_out=left_out,
            notes=[*verdicts.notes, *notes],
        )

    def _bouts(self, said: Sequence[Said], desk: Desk, left_out: Drops) -> list[Bout]:
        references = self._references(desk, left_out)
        asked = {one.id: one for one in self.instructions.asked}
        return [Bout(asked[one.item.id], one, references[one.item.id]) for one in said if one.item.id in references]

    def _references(self, desk: Desk, left_out: Drops) -> dict[str, str]:
        """By instruction: the file's, or what the baseline answers."""
        if self.config.baseline is None:
            return {one.id: one.reference for one in self.instructions.asked if one.reference is not None}
        with interview(desk.engine, desk.inputs.speaker(self.config.baseline), desk.context) as model:
            heard = ask(self.items(), model, f"  {self.config.baseline} answers")
        left_out.absorb(heard.left_out, NO_BASELINE)
        return {one.item.id: one.turns[0].text for one in heard.said}

    def _reference(self, desk: Desk) -> str:
        """Whose answers are compared with."""
        if self.config.baseline is not None:
            return desk.inputs.speaker(self.config.baseline).name
        return ", ".join(dict.fromkeys(one.author for one in self.instructions.asked))

    def _verdicts(self, bouts: Sequence[Bout], desk: Desk) -> Verdicts:
        judge = self.config.judge
        if isinstance(judge, RankingJudge):
            return ranked(judge, self.config.evaluation_version, self.config.seed, bouts, desk)
        return judged(judge, bouts, desk)

    def _reckoned(self, desk: Desk) -> tuple[Mapping[str, Any], list[str]]:
        """What the command says of the file that was written, and its remarks."""
        preferences = read_preferences(desk.folder / PREFERENCES)
        difficulty = self._difficulty(preferences) if self.config.evaluation_version == 2 else None
        found = scores(preferences, difficulty)
        return found[desk.label], list(remarks(preferences, found, difficulty))

    def _difficulty(self, preferences: Preferences) -> Difficulty:
        return self.difficulty or fit_difficulty(list(preferences.models.values()))


def _row(bout: Bout, word: Word) -> ItemRow:
    score = None if word.preference is None else word.preference - 1
    return row_of(bout.said, {PREFERENCE.key: score}, note=word.why, judged=word.judged)


def _preference(bout: Bout, word: Word, model: str) -> dict[str, Any]:
    return {
        "model": model,
        "instruction": bout.instruction.text,
        "preference": word.preference,
        "length_reference": len(bout.reference),
        "length_model": len(bout.answer),
    }
