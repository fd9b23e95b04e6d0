"""Rows of files become trees; rows that nothing can be learned from are left out, counted by cause."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from statistics import fmean, pstdev
from typing import Literal, NamedTuple

from favonius.chat.format import ChatFormat, ControlTokenError, Outcome
from favonius.data.checks import Drops
from favonius.data.rows import read_rows
from favonius.errors import UserError
from favonius.train.config import TrainConfig
from favonius.train.objectives import KTO, SFT, Reward, needs_baseline
from favonius.trees.reward import rewarded
from favonius.trees.tree import TokenSequence, Tree
from favonius.types import Dialogue, Feedback, LabelledAnswer, Message, Messages, Pair, RatedText, Split

DIALOGUES, PAIRS, LABELLED, FEEDBACK = "dialogues.jsonl", "pairs.jsonl", "labelled_answers.jsonl", "feedback.jsonl"

NO_TEXT = "no assistant text"
EMPTY_ANSWER = "empty answer"
NOTHING_SCORED = "no token is scored"
SAME = "chosen and rejected are the same"
SAME_CUT = "chosen and rejected are the same after truncation"
CONTROL_TOKEN = "holds a control token"
NO_SCORE = "no score"
ONE_ANSWER = "fewer than two rated answers"
ONE_OF_SEVERAL = "one of a prompt's answers: "
"""Opens the cause where an answer was left out and its prompt was not."""
ALL_EQUAL = "every answer has the same score"


def too_long(max_length: int) -> str:
    return f"longer than max_length ({max_length} tokens)"


def prompt_too_long(max_length: int) -> str:
    return f"prompt {too_long(max_length)}"


@dataclass(frozen=True)
class Row:
    """What one dialogue, pair, labelled answer or prompt with rated answers is to the training step. A pair's sequences
    are chosen, rejected."""

    id: str
    split: Split
    tree: Tree
    desirable: tuple[bool, ...]
    """For each sequence of the tree, whether it is to become more likely."""
    mismatched: Tree | None = None
    """This row's prompt with another row's answers, where the objective needs it (KTO)."""
    scores: tuple[float, ...] = ()
    """Of each sequence of a tree of rated answers, standardised over all train answers."""

    @property
    def ranked(self) -> list[Ranked]:
        """Every two sequences whose scores differ."""
        lengths = [len(sequence.ids) for sequence in self.tree.sequences]
        return [
            Ranked(better, worse, lengths[better] - lengths[worse])
            for better, worse in permutations(range(len(self.scores)), 2)
            if self.scores[better] > self.scores[worse]
        ]

    @property
    def length_gap(self) -> int:
        """Scored tokens of the desirable sequences minus those of the others."""
        marked = zip(self.tree.sequences, self.desirable, strict=True)
        return sum(sequence.scored_tokens * (1 if desirable else -1) for sequence, desirable in marked)


class Ranked(NamedTuple):
    """Places of two sequences of a tree, and by how many tokens the better one is longer."""

    better: int
    worse: int
    gap: int


def read_training_rows(config: TrainConfig, folder: Path, form: ChatFormat, drops: Drops) -> list[Row]:
    """Rows of the kind that the objective learns from, in the order of the file.

    UserError where the step made another kind, where none is left to train on, or where more than `max_dropped_share`
    of them cannot be learned from.
    """
    encoder = Encoder(form, config.max_length, config.truncation)
    match config.objective:
        case SFT(scored=scored):
            rows = dialogue_rows(encoder, read_rows(_file(config, folder, DIALOGUES), Dialogue), drops, scored)
        case KTO() if (folder / LABELLED).exists():
            rows = labelled_rows(encoder, read_rows(folder / LABELLED, LabelledAnswer), drops)
        case Reward():
            feedback = read_rows(_file(config, folder, FEEDBACK), Feedback)
            rows = standardised(rated_rows(encoder, feedback, config.objective, config.seed, drops))
        case _:
            rows = pair_rows(encoder, read_rows(_file(config, folder, PAIRS), Pair), drops)
    _refuse_few(config, rows, drops)
    return with_mismatches(rows, config.max_length) if needs_baseline(config.objective) else rows


def _file(config: TrainConfig, folder: Path, name: str) -> Path:
    if not (folder / name).exists():
        raise UserError(
            f"rows: step {config.rows} makes no {name}, which objective {config.objective.kind} learns from"
        )
    return folder / name


def _refuse_few(config: TrainConfig, rows: Sequence[Row], drops: Drops) -> None:
    dropped = sum(count for cause, count in drops.counts.items() if not cause.startswith(ONE_OF_SEVERAL))
    causes = ", ".join(f"{count} {cause}" for cause, count in drops.counts.items()) or "the file is empty"
    if not any(row.split == "train" for row in rows):
        raise UserError(f"rows: {config.rows}: no training row is left ({causes})")
    if dropped > config.max_dropped_share * (dropped + len(rows)):
        raise UserError(
            f"rows: {config.rows}: {dropped} of {dropped + len(rows)} rows cannot be learned from ({causes}), more "
            f"than max_dropped_share {config.max_dropped_share:g} allows; mend them or raise it"
        )


class UnfitError(Exception):
    """Nothing can be learned from a row; the message is the cause that it is counted under."""


@dataclass(frozen=True)
class Encoder:
    """Messages to token sequences of at most `max_length` tokens.

    truncation: what becomes of longer ones. drop: UnfitError. keep_start: they end after `max_length` tokens, so what
    is cut off has no end token, and its answer is not taught to stop there.
    """

    form: ChatFormat
    max_length: int
    truncation: Literal["drop", "keep_start"] = "drop"

    def answers(self, answers: Sequence[tuple[Messages, str, bool]]) -> list[Outcome]:
        """Of prompt, text and whether it is finished: the text scored, its end token too where it is finished."""
        dialogues = [(*prompt, Message(role="assistant", content=text)) for prompt, text, _ in answers]
        return self.form.encode_many(dialogues, [finished for *_, finished in answers], only_last=True)

    def dialogue(self, dialogue: Dialogue, encoded: Outcome, scored: Literal["assistant", "all"]) -> TokenSequence:
        """Every assistant turn scored, or every token that has another before it."""
        if not any(message.role == "assistant" and message.content.strip() for message in dialogue.messages):
            raise UnfitError(NO_TEXT)
        ids, marks = _tokens(encoded)
        return self.fit(self.whole(ids, marks if scored == "assistant" else [False] + [True] * (len(ids) - 1)))

    def answer(self, text: str, encoded: Outcome) -> TokenSequence:
        """Of any length: see `fit`."""
        if not text.strip():
            raise UnfitError(EMPTY_ANSWER)
        return self.whole(*_tokens(encoded))

    def whole(self, ids: Sequence[int], scored: Sequence[bool]) -> TokenSequence:
        if not any(scored):
            raise UnfitError(NOTHING_SCORED)
        return TokenSequence.of(ids, scored)

    def fit(self, sequence: TokenSequence) -> TokenSequence:
        if len(sequence.ids) <= self.max_length:
            return sequence
        if not any(sequence.scored[: self.max_length]):
            raise UnfitError(prompt_too_long(self.max_length))
        if self.truncation == "drop":
            raise UnfitError(too_long(self.max_length))
        return TokenSequence.of(sequence.ids[: self.max_length], sequence.scored[: self.max_length])


def dialogue_rows(
    encoder: Encoder, dialogues: Sequence[Dialogue], drops: Drops, scored: Literal["assistant", "all"] = "assistant"
) -> list[Row]:
    """One tree of one sequence per dialogue."""
    rows = []
    outcomes = encoder.form.encode_many([dialogue.messages for dialogue in dialogues])
    for dialogue, outcome in zip(dialogues, outcomes, strict=True):
        with counted(drops, dialogue.id):
            rows.append(dialogue_row(encoder, dialogue, outcome, scored))
    return rows


def dialogue_row(
    encoder: Encoder, dialogue: Dialogue, encoded: Outcome, scored: Literal["assistant", "all"] = "assistant"
) -> Row:
    """UnfitError where nothing can be learned from it, and the error that `encoded` is."""
    return Row(dialogue.id, dialogue.split, Tree.of(encoder.dialogue(dialogue, encoded, scored)), (True,))


def pair_rows(encoder: Encoder, pairs: Sequence[Pair], drops: Drops) -> list[Row]:
    """One tree of two sequences per pair, the answers scored."""
    rows = []
    first = encoder.answers([(pair.prompt, pair.chosen, pair.chosen_finished) for pair in pairs])
    second = encoder.answers([(pair.prompt, pair.rejected, pair.rejected_finished) for pair in pairs])
    for pair, one, other in zip(pairs, first, second, strict=True):
        with counted(drops, pair.id):
            rows.append(pair_row(encoder, pair, one, other))
    return rows


def pair_row(encoder: Encoder, pair: Pair, one: Outcome, other: Outcome) -> Row:
    """`one` and `other`: what became of chosen and rejected. Errors as of `dialogue_row`."""
    chosen, rejected = encoder.answer(pair.chosen, one), encoder.answer(pair.rejected, other)
    if chosen == rejected:
        raise UnfitError(SAME)
    chosen, rejected = encoder.fit(chosen), encoder.fit(rejected)
    if chosen == rejected:
        raise UnfitError(SAME_CUT)
    return Row(pair.id, pair.split, Tree.of(chosen, rejected), (True, False))


def labelled_rows(encoder: Encoder, answers: Sequence[LabelledAnswer], drops: Drops) -> list[Row]:
    """One tree of one sequence per answer, the answer scored."""
    rows = []
    outcomes = encoder.answers([(answer.prompt, answer.text, answer.finished) for answer in answers])
    for answer, outcome in zip(answers, outcomes, strict=True):
        with counted(drops, answer.id):
            rows.append(labelled_row(encoder, answer, outcome))
    return rows


def labelled_row(encoder: Encoder, answer: LabelledAnswer, encoded: Outcome) -> Row:
    """Errors as of `dialogue_row`."""
    sequence = encoder.fit(encoder.answer(answer.text, encoded))
    return Row(answer.id, answer.split, Tree.of(sequence), (answer.desirable,))


def rated_rows(encoder: Encoder, feedback: Sequence[Feedback], objective: Reward, seed: int, drops: Drops) -> list[Row]:
    """One tree per prompt, a branch for each answer that has a score, at most `objective.per_prompt` of them; marked
    for `trees.reward`. Unfit answers are counted one by one, and a prompt whose other answers tell nothing as well."""
    rows = []
    for case in feedback:
        outcomes = encoder.answers([(case.prompt, answer.text, answer.finished) for answer in case.completions])
        branches = []
        for answer, outcome in zip(case.completions, outcomes, strict=True):
            with counted(drops, f"{case.id} ({answer.source})", ONE_OF_SEVERAL):
                score, whole = _score(answer, objective), encoder.fit(encoder.answer(answer.text, outcome))
                branches.append((rewarded(whole.ids, whole.scored), score))
        with counted(drops, case.id):
            rows.append(_rated_row(case, branches, objective.per_prompt, seed))
    return rows


def _score(answer: RatedText, objective: Reward) -> float:
    """UnfitError where the judge gave no number."""
    of_aspects, overall = answer.scores.values(), answer.overall
    given = [score for score in ([overall] if objective.score == "overall" else of_aspects) if score is not None]
    if not given:
        raise UnfitError(NO_SCORE)
    return fmean(given)


def _rated_row(case: Feedback, branches: Sequence[tuple[TokenSequence, float]], most: int, seed: int) -> Row:
    """UnfitError where its scores tell no two answers apart."""
    if len(branches) < 2:
        raise UnfitError(ONE_ANSWER)
    drawn = random.Random(f"{seed} {case.id}").sample(range(len(branches)), min(most, len(branches)))
    sequences, scores = zip(*(branches[index] for index in sorted(drawn)), strict=True)
    if len(set(scores)) == 1:
        raise UnfitError(ALL_EQUAL)
    return Row(case.id, case.split, Tree.of(*sequences), (True,) * len(sequences), scores=scores)


def standardised(rows: Sequence[Row]) -> list[Row]:
    """Rated rows with scores less their mean over the train rows' answers, in units of their spread there."""
    known = [score for row in rows if row.split == "train" for score in row.scores]
    if not known:
        return list(rows)
    mean, spread = fmean(known), pstdev(known)
    return [replace(row, scores=tuple((score - mean) / spread for score in row.scores)) for row in rows]


def _tokens(encoded: Outcome) -> tuple[list[int], list[bool]]:
    if isinstance(encoded, UserError):
        raise encoded
    return encoded.ids, encoded.scored


@contextmanager
def counted(drops: Drops, row: str, opening: str = "") -> Iterator[None]:
    """Leave a row out that is unfit, counted with its id by cause, which `opening` begins. UserError where the chat
    template rejects it."""
    try:
        yield
    except UnfitError as error:
        drops.add(f"{opening}{error}", row)
    except ControlTokenError as error:
        drops.add(f"{opening}{CONTROL_TOKEN}", f"{row}: {error}")
    except UserError as error:
        raise UserError(f"row {row}: {error}") from error


def with_mismatches(rows: Sequence[Row], max_length: int) -> list[Row]:
    """Rows with `mismatched` set: each prompt with the answers of the row before it that has another prompt.

    Fixed for a row, whatever batch it comes in, so that its reference log-probs are made once. UserError where all
    prompts are the same.
    """
    prompts = [_prompt(row.tree.sequences[0]) for row in rows]
    # Of the first row, the row before it is the last one.
    other = next((index for index in reversed(range(len(rows))) if prompts[index] != prompts[0]), None)
    if other is None:
        raise UserError("kto: every row has the same prompt, and its baseline needs answers to other prompts")
    mismatched = []
    for index, row in enumerate(rows):
        if prompts[index - 1] != prompts[index]:
            other = index - 1
        sequences = [_moved(prompts[index], sequence, max_length) for sequence in rows[other].tree.sequences]
        mismatched.append(replace(row, mismatched=Tree.of(*sequences)))
    return mismatched


def _prompt(sequence: TokenSequence) -> tuple[int, ...]:
    return sequence.ids[: sequence.scored.index(True)]


def _moved(prompt: tuple[int, ...], sequence: TokenSequence, max_length: int) -> TokenSequence:
    """The answer of `sequence` after another prompt, which leaves room for a token of it at least."""
    own = sequence.scored.index(True)
    ids = (*prompt, *sequence.ids[own:])[:max_length]
    scored = (*[False] * len(prompt), *sequence.scored[own:])[:max_length]
    return TokenSequence.of(ids, scored)
