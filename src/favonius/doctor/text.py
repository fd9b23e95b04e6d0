"""A diagnosis for people, on a terminal or in a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from favonius.corpus.config import MADE_OF
from favonius.doctor.bars import bars, summary
from favonius.doctor.diagnosis import Diagnosis, Finding, Found, Gap, Training, Unchecked
from favonius.doctor.paint import Paint
from favonius.doctor.rows_text import sample
from favonius.phrases import counted, printable

CHARACTERS_ALONE = "Turns as they are written; with --model MODEL, the tokens that it sees."
LENGTHS_OF = {
    "dialogues": "of a dialogue",
    "prompts": "of a prompt",
}
ANSWERS = "of a prompt with one answer"
TO_GIVE: dict[Unchecked, str] = {
    "tokens": "tokens and masks, control tokens, what is too long, the chat template: give --model MODEL",
    "held_out": "prompts that another file holds out: give --test FILE",
    "benchmarks": "texts of benchmarks: give --benchmarks mt_bench=FILE …",
    "near_duplicates": "prompts that are nearly the same: give --near",
}


def text(diagnosis: Diagnosis, paint: Paint) -> str:
    """Everything, section by section; the last line is the verdict."""
    sections = [
        list(_found(diagnosis.found, paint)),
        list(_training(diagnosis.training, paint)),
        list(_samples(diagnosis, paint)),
        list(_lengths(diagnosis, paint)),
        list(_turns(diagnosis, paint)),
        list(_gap(diagnosis.gap, paint)),
        list(_findings("Faults", diagnosis.faults, diagnosis, paint)),
        list(_findings("Notes", diagnosis.notes, diagnosis, paint)),
        list(_unchecked(diagnosis, paint)),
        [verdict(diagnosis, paint)],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def verdict(diagnosis: Diagnosis, paint: Paint) -> str:
    source, faults = diagnosis.found.source, diagnosis.faults
    if not faults:
        return paint.good(f"{source}: no faults")
    kinds = ", ".join(f"{finding.kind} × {finding.count:,}" for finding in faults)
    return paint.finding(f"{source}: {counted(len(faults), 'kind')} of fault: {kinds}", "fault")


def _found(found: Found, paint: Paint) -> Iterator[str]:
    yield paint.head(found.source)
    yield printable(found.in_words)
    dropped = sum(found.dropped.values())
    refused = found.read - found.usable - dropped
    parts = [f"{counted(found.read, 'row')} read", f"{found.usable:,} usable as {MADE_OF[found.shape]}"]
    if dropped:
        parts.append(f"{dropped:,} dropped ({_causes(found.dropped)})")
    if refused:
        parts.append(f"{refused:,} malformed, for which the file is refused")
    yield ", ".join(parts)
    yield from map(printable, found.losses)
    if found.refusal:
        yield paint.finding(f"not read to its end: {printable(found.refusal)}", "fault")


def _training(training: Training | None, paint: Paint) -> Iterator[str]:
    if training is None:
        return
    rows = training.kept + sum(training.dropped.values())
    dropped = f"; dropped: {_causes(training.dropped)}" if training.dropped else ""
    yield f"Training would keep {training.kept:,} of {counted(rows, 'row')}{dropped}."
    held_out = f"; {training.held_out:,} rows are held out" if training.held_out else ""
    yield (
        f"An epoch has {counted(training.tokens, 'token')}, of which {training.trained_tokens:,} are trained "
        f"({_percent(training.trained_tokens, training.tokens)}){held_out}."
    )
    yield from (paint.finding(f"Training would refuse to begin: {why}.", "fault") for why in training.stops)


def _samples(diagnosis: Diagnosis, paint: Paint) -> Iterator[str]:
    if not diagnosis.samples:
        return
    yield paint.head("Rows") + f"  {paint.legend()}"
    if diagnosis.lengths is not None and diagnosis.lengths.unit == "characters":
        yield CHARACTERS_ALONE
    for row in diagnosis.samples:
        yield from sample(row, _here(row.place, diagnosis), paint)


def _lengths(diagnosis: Diagnosis, paint: Paint) -> Iterator[str]:
    lengths = diagnosis.lengths
    if lengths is None:
        return
    yield f"{paint.head('Length')}  {LENGTHS_OF.get(MADE_OF[diagnosis.found.shape], ANSWERS)}"
    columns = [("whole", lengths.whole)]
    if lengths.trained is not None:
        columns.append(("trained", lengths.trained))
    yield from bars(columns, lengths.unit)
    yield from (f"{name}: {summary(found)}" for name, found in columns)
    if lengths.over is not None:
        yield f"longer than max_length: {lengths.over:,} ({_percent(lengths.over, lengths.whole.count)})"


def _turns(diagnosis: Diagnosis, paint: Paint) -> Iterator[str]:
    if diagnosis.turns is not None:
        yield paint.head("Turns") + "  of the user"
        yield from bars([("rows", diagnosis.turns)], "turns")


def _gap(gap: Gap | None, paint: Paint) -> Iterator[str]:
    if gap is None:
        return
    pairs = gap.difference.count
    yield paint.head("Chosen minus rejected") + "  lengths"
    yield from bars([("pairs", gap.difference)], gap.unit)
    yield (
        f"mean {gap.difference.mean:,.1f}, median {gap.difference.median:,}; "
        f"chosen is longer in {_percent(gap.longer, pairs)} of pairs, as long in {_percent(gap.equal, pairs)}"
    )


def _findings(title: str, findings: Sequence[Finding], diagnosis: Diagnosis, paint: Paint) -> Iterator[str]:
    if not findings:
        return
    yield paint.head(title)
    for finding in findings:
        name = paint.finding(finding.kind, finding.severity)
        yield f"{name}  {counted(finding.count, 'row')} ({_share(finding.share)}): {finding.what}"
        yield f"    {finding.effect}"
        yield f"    {printable(_places(finding, diagnosis))}"
        if finding.sample:
            yield paint.aside(f"    {printable(_here(finding.sample, diagnosis))}")


def _here(text: str, diagnosis: Diagnosis) -> str:
    """Without the name of the file that all of this is about."""
    return text.replace(f"{diagnosis.found.source}, ", "")


def _places(finding: Finding, diagnosis: Diagnosis) -> str:
    """`line 3, 8 and 12 more`"""
    told: list[str] = []
    before = ""
    for place in (_here(place, diagnosis) for place in finding.places):
        beginning, space, number = place.rpartition(" ")
        told.append(number if space and beginning == before else place)
        before = beginning
    more = finding.count - len(told)
    return ", ".join(told) + (f" and {more:,} more" if more > 0 else "")


def _unchecked(diagnosis: Diagnosis, paint: Paint) -> Iterator[str]:
    if diagnosis.unchecked:
        yield paint.head("Not checked")
        yield from (TO_GIVE[name] for name in diagnosis.unchecked)


def _causes(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{cause} × {count:,}" for cause, count in sorted(counts.items(), key=lambda item: -item[1]))


def _percent(part: int, whole: int) -> str:
    return _share(part / whole if whole else 0.0)


def _share(share: float) -> str:
    """What is there at all is more than 0."""
    return f"{100 * share:.1f} %" if share >= 0.0005 or not share else "< 0.1 %"
