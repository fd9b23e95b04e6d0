"""Stage `data`: sources → filters → mixture → one file of rows.

Rows pass through memory one by one. What is kept of all of them is eight bytes each, and what filters that look for
duplicates remember.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from favonius.corpus.choose import Chosen, choose
from favonius.corpus.config import DataConfig
from favonius.corpus.gather import Gathered, gather
from favonius.corpus.kinds import file_of
from favonius.corpus.order import test_picks, train_picks
from favonius.corpus.record import Taken, dropped_in_words, stats
from favonius.data.rows import line_of
from favonius.errors import UserError
from favonius.files import replacing, write_json
from favonius.run import WORK, Context, Inputs


class Place(NamedTuple):
    """Where a row that is taken stands in its source's file, and how often it was taken before."""

    source: str
    offset: int
    repeat: int
    held_out: bool


def run(config: DataConfig, inputs: Inputs, out: Path, context: Context) -> None:
    """Writes one file of rows (see `kinds.FILES`), those to learn from first, and stats.json.

    UserError where sources do not go together, cannot be read, or leave no row: none to learn from, or none at all
    where all sources are held out, as they are of a step that only judging or evaluation reads.
    """
    say = context.progress.say
    work = out / WORK
    work.mkdir(exist_ok=True)
    gathered = gather(config, inputs, work, say)
    chosen = choose(config, gathered, inputs.files, context.progress)
    mixed = _mixed(config)
    if mixed and not any(len(chosen[name].train) for name in mixed):
        raise UserError(f"no row to learn from is left ({dropped_in_words(gathered, chosen)})")
    if not any(len(one.train) + len(one.test) for one in chosen.values()):
        raise UserError(f"no row is left ({dropped_in_words(gathered, chosen)})")
    taken = _write(out / file_of(next(iter(gathered.values())).shape), _places(config, chosen), gathered)
    there = taken.all_of(mixed)
    if mixed and config.rows is not None and there < config.rows:
        say(f"  {config.rows:,} rows are wanted, and {there:,} are all there are")
    write_json(out / "stats.json", stats(config, gathered, chosen, taken))


def _mixed(config: DataConfig) -> list[str]:
    return [name for name, source in config.sources.items() if not source.held_out]


def _places(config: DataConfig, chosen: Mapping[str, Chosen]) -> Iterator[Place]:
    names = _mixed(config)
    for pick in train_picks(config, {name: len(chosen[name].train) for name in names}):
        yield Place(names[pick.source], chosen[names[pick.source]].train[pick.row], pick.epoch, False)
    for pick in test_picks(config, {name: len(chosen[name].test) for name in names}):
        yield Place(names[pick.source], chosen[names[pick.source]].test[pick.row], 0, True)
    for name, source in config.sources.items():
        if source.held_out:
            yield from (Place(name, offset, 0, True) for offset in chosen[name].test)


def _write(path: Path, places: Iterator[Place], gathered: Mapping[str, Gathered]) -> Taken:
    """The rows at `places`; one that comes again has `#2`, `#3`, … behind its id."""
    taken = Taken()
    with ExitStack() as stack, replacing(path) as temporary:
        sources = {name: stack.enter_context(open(source.path, "rb")) for name, source in gathered.items()}
        with open(temporary, "wb") as file:
            for place in places:
                sources[place.source].seek(place.offset)
                line = sources[place.source].readline()
                file.write(_again(line, gathered[place.source], place.repeat) if place.repeat else line)
                taken.add(place.source, place.held_out, place.repeat > 0)
    return taken


def _again(line: bytes, source: Gathered, repeat: int) -> bytes:
    row = source.noun.model_validate_json(line)
    return line_of(row.model_copy(update={"id": f"{row.id}#{repeat + 1}"})).encode()
