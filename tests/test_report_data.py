"""The page's sections on made and prepared data and on money, over what the real stages and a real ledger write."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from favonius.engines.ledger import Ledger
from favonius.engines.ledger_books import Spend
from favonius.files import sha256_file, write_json
from favonius.report.bars import BARS_SHOWN, FEW
from favonius.report.books import read_books
from favonius.report.data_in import Change, data_in
from favonius.report.drops import drops, shortened
from favonius.report.gather import Run, Step, read_run
from favonius.report.made import Talk, conversations, openings
from favonius.report.marked import marked
from favonius.report.money import FAILED, bill, per_thousand, summed
from favonius.report.plots import histogram
from favonius.report.public import HIDDEN, Public
from favonius.report.story import brief, tell
from favonius.run import StepFolder
from tests.page_reader import Page, written
from tests.report_data_run import DOLLAR, LEFT_OPEN, SERVER, STEPS, TOPICS, make_data_run
from tests.report_run import HOSTILE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAVONIUS_CACHE", str(tmp_path_factory.mktemp("cache")))
        return make_data_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def html(folder: Path) -> str:
    return written(folder)


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return read_run(folder)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "village"))


def step(run: Run, name: str) -> Step:
    found = run.step(name)
    assert found is not None
    return found


def section(html: str, name: str) -> str:
    """The plain text of one section."""
    start = html.index(f'<section id="{name}"')
    return Page(html[start : html.index("</section>", start) + len("</section>")]).plain()


def rewritten(folder: Path, name: str, **changes: Any) -> None:
    """Change top-level fields of a run's recipe (`name` recipe) or of a step's stats.json."""
    if name == "recipe":
        file = folder / "recipe.yaml"
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **changes}, sort_keys=False))
    else:
        file = folder / name / "stats.json"
        write_json(file, {**json.loads(file.read_text()), **changes})


# the page as a whole


def test_hostile_texts_are_only_text_and_nothing_is_fetched(html: str) -> None:
    found = Page(html)
    assert not {"script", "img", "iframe", "link", "object"} & set(found.names())
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    assert found.text.count("<script>alert('☠')</script>") >= 3 and "<b>amber</b>" in found.text
    assert "{{ 7 * 7 }}" in found.text and " 49 }}" not in found.text
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {str(attributes["href"]) for _, attributes in found.tags if "href" in attributes}
    assert {target.removeprefix("#") for target in targets} <= set(ids)


def test_neither_servers_nor_folders_of_the_machine_are_named(folder: Path, html: str) -> None:
    assert SERVER not in html and "teacher.internal" not in html and "http://" not in html
    assert str(folder.parent) not in html and str(Path.home()) + "/" not in html
    assert f"base_url: {HIDDEN}" in html and "(address) answered 500 (internal error)" in html
    assert "key_env: TEACHER_KEY" in html


def test_same_folder_same_bytes(folder: Path, html: str) -> None:
    assert written(folder) == html


def test_sections_are_those_that_the_recipe_fills(html: str) -> None:
    names = re.findall(r'<section id="([\w-]+)"', html)
    assert names == ["conversations", "openings", "data-in", "rows", "time", "cost", "reproducibility"]
    assert re.findall(r'<a href="#([\w-]+)"', html) == names


def test_the_first_sentences_tell_what_was_made(run: Run, html: str) -> None:
    story = tell(run)
    talks, corpus = step(run, "dialogues").stats, step(run, "corpus").stats
    assert story.sentence == "" and len(story.doings) == 4 and story.chain == ()
    assert story.doings[0].startswith(f"From {corpus['read']} rows of 3 sources came {corpus['kept']} dialogues, ")
    assert "The teacher large-1 wrote 48 of 64 openings wanted in 2 sectors (world, ours)." in story.doings
    assert f"{talks['kept']} conversations of 48 begun were kept" in story.doings[2]
    assert "$2.94, $0.3750 of it for no usable answer; 12 have no answer." in story.doings[3]
    assert all(sentence in Page(html).plain() for sentence in story.doings)


def test_what_is_left_open_is_told_first_and_beside_the_money(html: str) -> None:
    assert "There is more to do." in html[: html.index("<nav")] and LEFT_OPEN in html[: html.index("<nav")]
    assert f"dialogues has more to do: {LEFT_OPEN}." in section(html, "cost")


@pytest.mark.parametrize("name", list(STEPS))
def test_a_step_that_has_not_finished_has_nothing_to_show_yet(copy: Path, name: str) -> None:
    for file in ("done.json", "stats.json"):
        (copy / name / file).unlink()
    assert f"Nothing to show yet: step {name} is unfinished." in Page(written(copy)).plain()


# conversations and openings


def test_conversations_are_counted_and_shown_whole(run: Run, html: str) -> None:
    made = conversations(run, step(run, "dialogues"), "d0", Public(run.path))
    stats, said = step(run, "dialogues").stats, section(html, "conversations")
    assert dict(made.facts)["kept"] == str(stats["kept"]) and dict(made.facts)["begun"] == "48"
    assert made.rounds is not None and 'aria-label="Rounds, conversations. 1: ' in made.rounds.svg
    assert [voice.name for voice in made.voices] == ["user", "teacher"]
    assert made.voices[1].mtld == f"{stats['variety']['assistant']['mtld']:g}" and "MTLD 74.3" in said
    assert len(made.talks) == 6 and "6 of them" in said
    for talk in stats["shown"]:
        for message in talk["messages"]:
            assert " ".join(message["content"].split())[:600] in said
        assert talk["topic"] is None or f"world · {talk['topic']}" in said


def test_topics_are_held_against_those_of_the_openings(run: Run) -> None:
    made = conversations(run, step(run, "dialogues"), "d0", Public(run.path))
    by_sector, by_topic = made.coverage
    assert sum(bar.count for bar in by_sector.shown) == step(run, "dialogues").stats["kept"]
    assert by_sector.shown[0].length == 100.0 and by_sector.shown[0].count >= by_sector.shown[1].count
    found = len(step(run, "dialogues").stats["topics"]["counts"])
    assert by_topic.note.startswith(f"{found} of the openings' {len(TOPICS)} topics, evenness ")


def test_long_lists_of_bars_are_folded_and_long_talks_too(run: Run, html: str) -> None:
    topics = openings(step(run, "openings"), Public(run.path)).topics
    assert topics is not None and len(topics.shown) == BARS_SHOWN and len(TOPICS) > BARS_SHOWN + FEW
    assert len(topics.shown) + len(topics.folded) == len(TOPICS)
    assert f"{len(topics.folded)} more" in section(html, "openings")


def test_rounds_beyond_the_second_are_folded(copy: Path) -> None:
    turn = {"role": "user", "content": "And then?"}, {"role": "assistant", "content": "word " * 400}
    talk = {"id": "w1", "messages": list(turn) * 5, "source": "world", "topic": "tea", "persona": "a <i>monk</i>"}
    rewritten(copy, "dialogues", shown=[talk])
    html = written(copy)
    said = section(html, "conversations")
    assert len(Talk.model_validate(talk).rounds) == 5 and "3 more rounds" in said
    assert "world · tea · a <i>monk</i>" in said and said.count("And then?") == 5
    assert html.count("word word") > 0 and said.count("more characters") == 5


def test_openings_are_held_against_what_was_wanted(run: Run, html: str) -> None:
    made, said = openings(step(run, "openings"), Public(run.path)), section(html, "openings")
    assert [(sector.name, sector.stats.kept, sector.share) for sector in made.sectors] == [
        ("world", 24, 100.0),
        ("ours", 24, 60.0),
    ]
    for sector in made.sectors:
        assert len(sector.stats.shown) == 4 and all(text in said for text in sector.stats.shown)


def test_every_opening_that_was_begun_is_kept_or_dropped(run: Run, html: str) -> None:
    talks, public = step(run, "dialogues"), Public(run.path)
    missing = drops(talks, public)
    assert sum(drop.count for drop in missing) + talks.stats["kept"] == talks.stats["seeds"]
    assert any(drop.cause == "refusals: as an AI" for drop in missing)
    early = shortened(talks, public)
    assert early and not {drop.cause for drop in early} & {f"{drop.cause} (earlier rounds kept)" for drop in missing}
    assert "user's turn asks no question" in section(html, "conversations")
    assert "teacher failed: (address) answered 500 (internal error)" in section(html, "rows")


def test_sectors_drops_are_named_by_their_sector(copy: Path) -> None:
    sectors = json.loads((copy / "openings" / "stats.json").read_text())["sectors"]
    sectors["world"] |= {"dropped": {"said before": 3}, "samples": {"said before": [HOSTILE]}}
    rewritten(copy, "openings", sectors=sectors)
    html = written(copy)
    assert "world: said before 3" in section(html, "rows") and "said before 3" in section(html, "openings")


# data in


def test_sources_add_up_and_shares_are_held_against_weights(run: Run, html: str) -> None:
    found, stats = data_in(step(run, "corpus"), Public(run.path)), step(run, "corpus").stats
    for source in found.sources:
        assert source.stats.read == source.stats.kept + source.dropped
    web, own, exam = found.sources
    assert (web.wanted, own.wanted, exam.wanted, exam.got) == (0.75, 0.25, None, None) and exam.held_out
    assert web.got is not None and own.got is not None and web.got == pytest.approx(0.75, abs=0.02)
    assert (own.lost, own.stats.taken.repeats) == (1, stats["repeated"])
    said = section(html, "data-in")
    assert "own.jsonl 1 row (26 bytes) could not be read" in said and "75.0 %" in said and "again" in said


def test_filters_show_what_they_changed_and_dropped(run: Run, html: str) -> None:
    said = section(html, "data-in")
    for name in ("corpus", "dialogues"):
        found = data_in(step(run, name), Public(run.path))
        totals = step(run, name).stats["filters"]
        for one in found.filters:
            assert {"seen": one.seen, "changed": one.changed, "dropped": one.dropped}.items() <= totals[
                one.name
            ].items()
            assert sum(drop.count for drop in one.drops) == one.dropped
        assert found.filters[0].name == "truecase" and found.filters[0].changes
    assert "<del>it</del> is sold there, <del>i</del> think." in html
    assert "<ins>It</ins> is sold there, <ins>I</ins> think." in html
    assert "near duplicates" in said and "Changed by truecase" in said


def test_contamination_names_benchmark_row_and_text_and_also_what_was_not_found(run: Run, html: str) -> None:
    quiz, other = data_in(step(run, "corpus"), Public(run.path)).contamination
    assert (quiz.cause, quiz.count, other.cause, other.count) == ("quiz", 1, "other", 0)
    assert re.search(r"web/\w+: messages\[0\] holds of q7: which two rivers meet", quiz.samples[0])
    assert (
        quiz.samples[0] in section(html, "data-in")
        and not data_in(step(run, "dialogues"), Public(run.path)).contamination
    )


@given(st.text("ab .I\n", max_size=30), st.text("ab .I\n", max_size=30), st.booleans())
def test_marked_pieces_are_the_texts_again(before: str, after: str, whole: bool) -> None:
    old, new = marked(before, after, whole)
    assert ("".join(piece.text for piece in old), "".join(piece.text for piece in new)) == (before, after)
    equal = ["".join(piece.text for piece in pieces if not piece.differs) for pieces in (old, new)]
    assert not whole or equal[0] == equal[1]
    assert before == after or any(piece.differs for piece in (*old, *new))


def test_only_what_differs_is_marked() -> None:
    old, new = marked("so i think", "so I think")
    assert [piece.text for piece in old if piece.differs] == ["i"]
    assert [piece.text for piece in new if piece.differs] == ["I"]


def test_where_a_neighbourhood_was_cut_is_no_difference() -> None:
    """One character went, so at the other end one more came into the window."""
    before, after = "a  b " + "word " * 15, "a b " + "word " * 15 + "w"
    assert len(before) == len(after) == 80
    old, new = Change(row="r", before=before, after=after).pieces
    assert [piece.text for piece in new if piece.differs] == [" "] and new[-1].text == old[-1].text == "…"


# money


def test_the_bill_is_the_ledgers(folder: Path, run: Run, html: str) -> None:
    shown = bill(run, Public(run.path))
    assert shown.priced and [entry.step for entry in shown.entries] == ["openings", "dialogues"]
    assert {entry.model for entry in shown.entries} == {"teacher"}
    assert shown.total.total == sum(entry.spend.total for entry in shown.entries) == 47 * DOLLAR // 16
    assert sum(loss.cost for loss in shown.paid) == shown.total.lost
    assert [(loss.cause, loss.cost) for loss in shown.paid] == [
        (FAILED, DOLLAR // 4),
        ("in flight when the run was stopped", DOLLAR // 8),
    ]
    assert sum(loss.requests or 0 for loss in shown.unanswered) == shown.total.failures
    assert [(purse.name, purse.left, purse.spent) for purse in shown.purses] == [
        ("the whole run", 33 * DOLLAR // 16, 47 * DOLLAR // 16),
        ("dialogues", 9 * DOLLAR // 16, 39 * DOLLAR // 16),
    ]
    said = section(html, "cost")
    assert "the whole run $5.00 $2.94 $2.06" in said and "$0.3750 $0.0625 $2.94" in said


def test_a_thousand_conversations_have_a_price(run: Run, html: str) -> None:
    made = conversations(run, step(run, "dialogues"), "d0", Public(run.path))
    kept = step(run, "dialogues").stats["kept"]
    assert [name for name, _ in made.thousand] == ["their turns", "their openings", "together"]
    own, before, both = (spend for _, spend in made.thousand)
    assert own.total == pytest.approx(39 * DOLLAR / 16 * 1000 / kept, abs=2)
    assert both.total == pytest.approx(own.total + before.total, abs=4)
    assert f"${47 / 16 * 1000 / kept:,.2f}" in section(html, "conversations")


def test_without_a_price_nobody_speaks_of_dollars(copy: Path) -> None:
    with sqlite3.connect(copy / "ledger.sqlite") as database:
        for table in ("completions", "failures", "charges", "totals"):
            database.execute(f"UPDATE {table} SET cost = 0")
        database.execute("DELETE FROM reservations")
    database.close()
    recipe = yaml.safe_load((copy / "recipe.yaml").read_text())
    del recipe["budget"], recipe["models"]["teacher"]["price"]
    (copy / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    html = written(copy)
    said = section(html, "conversations")
    assert "$" not in section(html, "cost").replace(LEFT_OPEN, "") + said and "In flight" not in html
    assert "What a thousand conversations take" in said and "138 requests brought" in Page(html).plain()


def test_a_run_that_asked_nothing_has_no_bill(copy: Path) -> None:
    (copy / "ledger.sqlite").unlink()
    rewritten(copy, "recipe", budget=None)
    html = written(copy)
    assert 'id="cost"' not in html and "What a thousand" not in html


def test_reading_the_books_changes_nothing_and_waits_for_nobody(copy: Path) -> None:
    before = {path: sha256_file(path) for path in copy.rglob("*") if path.is_file()}
    assert not [path for path in before if path.name.endswith(("-wal", "-shm"))]
    read_books(copy)
    assert {path: sha256_file(path) for path in copy.rglob("*") if path.is_file()} == before
    with Ledger(copy / "ledger.sqlite", "dialogues") as ledger:
        writer = sqlite3.connect(copy / "ledger.sqlite", isolation_level=None)
        writer.execute("INSERT INTO charges VALUES ('dialogues', 'm', 'new', 1, 1, 7)")
        writer.execute("BEGIN IMMEDIATE")
        books = read_books(copy)
        writer.execute("ROLLBACK")
        writer.close()
        assert [charge.cause for charge in books.charges if charge.cost == 7] == ["new"], "it is in the log alone"
        assert list(books.spend) == ledger.spend() and summed(books.spend).reserved == DOLLAR // 16
    assert read_books(copy) == books


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (b"PRAGMA user_version=99", "a newer Favonius wrote it"),
        (b"PRAGMA user_version=1", "an older Favonius wrote it"),
        (b"", "it cannot be read (file is not a database)"),
    ],
)
def test_a_ledger_that_cannot_be_read_does_not_cost_the_page(copy: Path, change: bytes, sentence: str) -> None:
    file = copy / "ledger.sqlite"
    if change:
        database = sqlite3.connect(file)
        database.execute(change.decode())
        database.close()
    else:
        file.write_bytes(b"no database, whatever it says " * 100)
    html = written(copy)
    assert f"The ledger is not shown: {sentence}" in section(html, "cost") and 'id="conversations"' in html


def test_a_ledger_without_tables_is_an_empty_one(copy: Path) -> None:
    (copy / "ledger.sqlite").write_bytes(b"")
    assert read_books(copy) == read_books(copy / "nowhere")


def test_a_thousand_of_ten_is_a_hundredfold() -> None:
    spend = Spend("a", "m", 3, 100, 50, 7.0, 1, 10, 20, 30)
    assert per_thousand([spend], 10) == Spend("", "", 300, 10_000, 5_000, 700, 100, 1_000, 2_000, 3_000)
    assert summed([]) == Spend("", "", 0, 0, 0, 0, 0, 0, 0, 0)


# small parts


def test_histogram_shows_what_never_came() -> None:
    svg = histogram("Rounds", "conversations", {2: 1200, 4: 3}, "x").svg
    assert "Rounds, conversations. 2: 1,200, 3: 0, 4: 3" in svg and 'id="x-' in svg and "var(--first)" in svg


def test_addresses_of_servers_are_hidden(tmp_path: Path) -> None:
    public = Public(tmp_path)
    engine = {"endpoints": ["https://a.example/v1", {"base_url": "http://b:1/v1", "concurrency": 3}], "api": "chat"}
    hidden = {"endpoints": [HIDDEN, {"base_url": HIDDEN, "concurrency": 3}], "api": "chat"}
    assert public(engine) == hidden
    assert public.told("https://a.example/v1: gave up (http://b:1)") == "(address) gave up ((address))"
    assert public("see https://a.example/v1") == "see https://a.example/v1", "in a dialogue it is text like any other"


def test_a_served_model_is_called_as_its_servers_call_it() -> None:
    assert brief("api://owner/large-1") == "owner/large-1"


def test_a_run_folder_of_the_pipeline_is_what_was_made_up(folder: Path) -> None:
    manifest = StepFolder(folder / "dialogues").manifest()
    assert manifest is not None and manifest.left_open == (LEFT_OPEN,)
