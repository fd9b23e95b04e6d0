"""Writes a card's recipe and files, runs it, and makes the card of what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from favonius.card.build import run_card
from favonius.card.nouns import RunCard, read_card, write_card
from favonius.errors import UserError
from favonius.files import write_text
from favonius.pipeline import work
from favonius.pipeline.replay.needs import CARD, RECIPE, Need, Needs, needs_of
from favonius.progress import Progress
from favonius.recipe import load_recipe
from favonius.recipe.document import read_text
from favonius.recipe.override import override

GIVEN = "card_files"
"""Folder in the replay's run folder that has the card, its recipe and what that reads. No step can be called so."""


@dataclass(frozen=True)
class Wanted:
    """A card to be made again in the run folder `out`, with files of the folder `files` and `--set` overrides."""

    card: RunCard
    out: Path
    files: Path | None = None
    overrides: tuple[str, ...] = ()

    @property
    def given(self) -> Path:
        return self.out / GIVEN


def prepared(wanted: Wanted) -> Needs:
    """What it takes beyond the card; writes nothing.

    UserError where something else is in the run folder, no step of the card is finished, or an override leads nowhere.
    """
    if not wanted.card.done():
        raise UserError("the card has no finished step: there is nothing to make again")
    _refuse_place(wanted)
    document = read_text(wanted.card.recipe, "the card's recipe")
    for text in wanted.overrides:
        document = override(document, text)
    return needs_of(wanted.card, document, wanted.files)


def replay(wanted: Wanted, progress: Progress) -> RunCard:
    """Run the card's recipe as far as the card's run was finished, and return the card of the new run.

    Stopped, it goes on where it was when it is called again. UserError, a line for each, where something that it needs
    is missing; and whatever a run raises.
    """
    needs = prepared(wanted)
    if missing := needs.missing():
        raise UserError("\n".join(missing))
    write_card(wanted.given / CARD, wanted.card)
    write_text(wanted.given / RECIPE, wanted.card.recipe)
    for need in needs.things:
        _put(need, wanted.given)
        if need.state == "another":
            progress.say(f"{need.what}: {need.at} is another; the replay goes on with it")
    _run(wanted, progress)
    made = run_card(wanted.out)
    write_card(wanted.out / CARD, made)
    return made


def _run(wanted: Wanted, progress: Progress) -> None:
    recipe_file = wanted.given / RECIPE
    recipe = load_recipe(recipe_file, wanted.overrides, with_ablations=True, check_files=False)
    names = [step.name for step in wanted.card.done()]
    work.run_recipe(
        recipe,
        recipe_file,
        wanted.out,
        progress,
        overrides=wanted.overrides,
        with_ablations=wanted.card.with_ablations or not recipe.ablations().isdisjoint(names),
        until=names[-1],
    )


def _refuse_place(wanted: Wanted) -> None:
    """A run's steps are made afresh where their recipe changes: no other run may be in the folder."""
    before = wanted.given / CARD
    if not wanted.out.exists() or (wanted.out.is_dir() and not any(wanted.out.iterdir())):
        return
    if not before.is_file() or read_card(before).digest() != wanted.card.digest():
        raise UserError(f"--out {wanted.out}: this is there and is no replay of this card; name another folder")


def _put(need: Need, folder: Path) -> None:
    """Content is written; what somebody gave is linked to, for it may be large."""
    place = folder / need.name
    if need.at is None:
        write_text(place, need.content or "")
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(need.at)
