"""Stage `pairs`: rated answers become preferences (zephyr-spec §1.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from favonius.data.checks import Drops
from favonius.data.rows import iterate_rows, line_of
from favonius.data.shapes import LOOKED_AT
from favonius.errors import FavoniusError
from favonius.feedback.binarise import as_pairs, without_score
from favonius.feedback.compare_rules import Compared, RuleSums, variants
from favonius.feedback.config import Binarisation, PairsConfig
from favonius.feedback.repair import repaired
from favonius.files import replacing, write_json
from favonius.phrases import counted
from favonius.run import Context, Inputs
from favonius.types import Feedback


@dataclass
class Account:
    """What became of prompts before a rule saw them."""

    prompts: int = 0
    sourceless: int = 0
    """Prompts that do not say where they come from."""
    dropped: Drops = field(default_factory=Drops)
    unscored: int = 0
    """Answers that the rule cannot use."""
    repairs: Counter[str] = field(default_factory=Counter)


def run(config: PairsConfig, inputs: Inputs, out: Path, context: Context) -> None:
    """Writes pairs.jsonl, comparison.json (how other rules would differ on the same rows) and stats.json.

    FavoniusError where no prompt gives a pair to train on.
    """
    path = inputs.folder(config.ratings) / "feedback.jsonl"
    account = Account()
    compared = Compared(variants(config, list(islice(iterate_rows(path, Feedback), LOOKED_AT))), config)
    with replacing(out / "pairs.jsonl") as temporary:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            for row in prepared(iterate_rows(path, Feedback), config, account):
                made = compared.add(row)[0]
                file.writelines(map(line_of, as_pairs(row, made, config.rule, config.score, config.seed)))
        if compared.own.sums.pairs == compared.own.held_out:
            raise FavoniusError(f"{out.name}: no prompt gave a pair to train on ({in_words(account, compared.own)})")
    context.progress.say(f"  {counted(compared.own.sums.pairs, 'pair')} of {counted(account.prompts, 'prompt')}")
    write_json(out / "comparison.json", compared.record())
    write_json(out / "stats.json", stats(account, compared.own))


def prepared(rows: Iterable[Feedback], how: Binarisation, account: Account) -> Iterator[Feedback]:
    """The rows that a rule is to see: prompts of other sources than those left out, with their scores repaired."""
    for row in rows:
        account.prompts += 1
        account.sourceless += row.source is None
        if row.source in how.without_sources:
            account.dropped.add(f"prompt of {row.source}", row.id)
            continue
        if how.repair is not None:
            row = repaired(row, how.repair, account.repairs)
        account.unscored += without_score(row, how.score)
        yield row


def stats(account: Account, own: RuleSums) -> dict[str, Any]:
    """For stats.json: `prompts` = those that gave pairs + all of `dropped`."""
    return {
        "kept": own.sums.pairs,
        **all_dropped(account, own).record(),
        "prompts": account.prompts,
        "prompts_without_source": account.sourceless,
        "held out": own.held_out,
        "answers_without_score": account.unscored,
        **({"repairs": dict(account.repairs)} if account.repairs else {}),
        **own.sums.record(),
    }


def all_dropped(account: Account, own: RuleSums) -> Drops:
    dropped = Drops()
    dropped.absorb(account.dropped)
    dropped.absorb(own.dropped)
    return dropped


def in_words(account: Account, own: RuleSums) -> str:
    """Why prompts were dropped: `12 tie, 3 fewer than two answers have a score`."""
    counts = all_dropped(account, own).counts
    return ", ".join(f"{count:,} {cause}" for cause, count in counts.most_common()) or "all prompts are held out"
