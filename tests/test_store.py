"""Stored log-probs: what is computed again and what is not, whatever happens to the process or the file."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from favonius.chat.format import ChatFormat
from favonius.errors import FavoniusError
from favonius.trees import store
from favonius.trees.logps_file import LogpsFile
from favonius.trees.pack import pack, plan
from favonius.trees.score import score
from favonius.trees.store import FILE, Stored, stored_logps, sum_tolerance
from favonius.trees.tree import TokenSequence, Tree
from favonius.types import Message
from tests.tiny import VOCABULARY, tiny_model, tiny_tokenizer

MODEL = tiny_model("llama")
BUDGET = 45


def tree(seed: int, prompt: int = 7, answer: int = 9) -> Tree:
    """A pair whose ids are drawn from `seed`."""
    draw = torch.Generator().manual_seed(seed)
    ids = [int(token) for token in torch.randint(3, VOCABULARY, (prompt + 2 * answer,), generator=draw)]
    prompt_ids, first, second = ids[:prompt], ids[prompt : prompt + answer], ids[prompt + answer :]
    scored = [False] * prompt + [True] * answer
    return Tree.of(
        TokenSequence.of(prompt_ids + first, scored), TokenSequence.of(prompt_ids + second[:-2], scored[:-2])
    )


TREES = [tree(seed, answer=4 + seed) for seed in range(8)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAVONIUS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def stored(trees: list[Tree] = TREES, weights: str = "weights", **options: object) -> Stored:
    return stored_logps(MODEL, weights, trees, BUDGET, **options)  # type: ignore[arg-type]


def change(cache: Path, statement: str, *values: object) -> None:
    """Run SQL on the store's file behind its back."""
    database = sqlite3.connect(cache / FILE)
    with database:
        assert database.execute(statement, values).rowcount > 0
    database.close()


def test_values_are_those_of_score_and_survive_the_file_to_the_bit() -> None:
    fresh, again = stored(tokens=True), stored(tokens=True)
    assert (fresh.computed, fresh.verified, again.computed, again.verified) == (8, 0, 0, 2)
    for members in plan(TREES, BUDGET):
        with torch.no_grad():
            scored = score(MODEL, pack([TREES[index] for index in members]))
        sums = scored.sums().tolist()
        assert [total for index in members for total in fresh.sums[index]] == sums
        tokens = [value for index in members for value in fresh.by_tree[index].tokens or []]
        assert torch.equal(torch.cat(tokens), scored.values_M)
    for before, after in zip(fresh.by_tree, again.by_tree, strict=True):
        assert before.sums == after.sums and before.tokens is not None and after.tokens is not None
        assert all(torch.equal(a, b) for a, b in zip(before.tokens, after.tokens, strict=True))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seeds=st.lists(st.integers(0, 10**6), min_size=1, max_size=5), precision=st.sampled_from(["float32", "bfloat16"])
)
def test_a_stored_sum_is_the_sum_of_its_stored_tokens_to_the_bit(seeds: list[int], precision: str) -> None:
    model = MODEL if precision == "float32" else BF16
    trees = [tree(seed) for seed in seeds]
    found = stored_logps(model, "weights", trees, BUDGET, tokens=True)
    for logps in found.by_tree:
        assert logps.tokens is not None
        for total, values in zip(logps.sums, logps.tokens, strict=True):
            assert values.dtype == torch.float32
            added = torch.zeros(1)
            for value in values:
                added += value
            assert float(added) == total


BF16 = tiny_model("llama", torch.bfloat16)


def test_tokens_are_computed_only_where_they_are_asked_for_and_missing() -> None:
    assert stored().computed == 8
    assert stored().by_tree[0].tokens is None
    assert stored(tokens=True).computed == 8, "sums alone hold no tokens"
    assert stored(tokens=True).computed == 0
    sums = stored()
    assert sums.computed == 0 and sums.by_tree[0].tokens is None, "a row with tokens serves sums"


def test_exactly_the_changed_rows_are_computed() -> None:
    stored()
    first = TREES[2].sequences[0]
    other_id = TokenSequence((*first.ids[:-1], first.ids[-1] ^ 1), first.scored)
    other_mask = TokenSequence(first.ids, (*first.scored[:-2], False, True))
    for sequence in (other_id, other_mask):
        changed = [*TREES[:2], Tree.of(sequence, TREES[2].sequences[1]), *TREES[3:]]
        assert stored(changed).computed == 1
    assert stored([*TREES[4:], tree(99), *TREES[:4]]).computed == 1, "order and neighbours are not in the key"
    assert stored(weights="other weights").computed == 8
    assert stored_logps(BF16, "weights", TREES, BUDGET).computed == 8
    assert stored_logps(MODEL, "weights", TREES, 10_000).computed == 0, "how it is packed is not in the key"


def test_another_version_of_the_scoring_code_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stored()
    monkeypatch.setattr(store, "VERSION", store.VERSION + 1)
    assert stored().computed == 8


def test_another_template_or_limit_costs_the_rows_whose_tokens_it_changes() -> None:
    def trees(template: str, limit: int) -> list[Tree]:
        form, found = ChatFormat(tiny_tokenizer(template)), []
        for system, text in ((True, "the fox"), (False, "a question"), (False, "the weather " * 9)):
            said = (Message(role="system", content="answers"),) if system else ()
            talk = (*said, Message(role="user", content="a fox?"), Message(role="assistant", content=text))
            encoded = form.encode(talk, finished=True, only_last=True)
            found.append(Tree.of(TokenSequence.of(encoded.ids[:limit], encoded.scored[:limit])))
        return found

    template = str(tiny_tokenizer().chat_template)
    assert stored(trees(template, 200)).computed == 3
    longest = max(sequence_length(found) for found in trees(template, 200))
    assert stored(trees(template, longest - 1)).computed == 1, "only one row was that long"
    # Zephyr's template opens talks that have no system message with an empty one, by the only "<|system|>" in it.
    assert template.count("<|system|>") == 1
    assert stored(trees(template.replace("<|system|>", "<|rules|>"), 200)).computed == 2


def sequence_length(found: Tree) -> int:
    return len(found.sequences[0].ids)


def test_sequences_do_not_run_into_each_other_in_the_key() -> None:
    joined = Tree((TokenSequence((1, 2, 3, 4), (False, True, True, True)),), 1)
    parted = Tree((TokenSequence((1, 2), (False, True)), TokenSequence((3, 4), (False, True))), 1)
    assert store.tree_key("a", joined) != store.tree_key("a", parted)
    assert store.tree_key("a", joined) != store.tree_key("b", joined)


CHILD = """
import os, signal, sys
from tests.test_store import stored
finished = []
def done(trees, tokens):
    finished.append(trees)
    if len(finished) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
stored(tokens=True, done=done)
"""


def child(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment)


def test_a_killed_pass_keeps_every_finished_pack_and_ends_with_the_same_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packs = plan(TREES, BUDGET)
    assert len(packs) >= 4
    assert child(CHILD, "3").wait() == -signal.SIGKILL, "the first call of done tells of what was known"
    resumed = stored(tokens=True)
    assert resumed.computed == len(TREES) - len(packs[0]) - len(packs[1])
    monkeypatch.setenv("FAVONIUS_CACHE", str(tmp_path / "another"))
    whole = stored(tokens=True)
    assert whole.computed == len(TREES) and whole.sums == resumed.sums
    for a, b in zip(whole.by_tree, resumed.by_tree, strict=True):
        assert torch.equal(torch.cat(a.tokens or []), torch.cat(b.tokens or []))


WRITER = """
import sys
from pathlib import Path
from favonius.trees.logps_file import LogpsFile, Row
file = LogpsFile(Path(sys.argv[1]))
for number in range(100):
    file.write({f"{name} {number}": Row(bytes([number]) * 8, sys.argv[2].encode()) for name in ("shared", sys.argv[2])})
    assert file.read([f"shared {number}"], False, [(8, 0)]) == {0: Row(bytes([number]) * 8)}
file.close()
"""


def test_processes_that_begin_at_once_share_one_file(cache: Path) -> None:
    names = [f"writer{number}" for number in range(4)]
    assert [process.wait() for process in [child(WRITER, str(cache / FILE), name) for name in names]] == [0] * 4
    file = LogpsFile(cache / FILE)
    keys = [f"{name} {number}" for name in ("shared", *names) for number in range(100)]
    rows = file.read(keys, True, [(8, len("writer0"))] * len(keys))
    file.close()
    assert [rows[index].sums[0] for index in range(len(keys))] == [*range(100)] * 5


def test_done_counts_every_tree_once_and_every_token_that_ran() -> None:
    def told(trees: list[Tree], **options: object) -> tuple[int, int]:
        calls: list[tuple[int, int]] = []
        stored(trees, done=lambda count, tokens: calls.append((count, tokens)), **options)
        return sum(count for count, _ in calls), sum(tokens for _, tokens in calls)

    everything = sum(tree.run_tokens for tree in TREES)
    assert told(TREES) == (8, everything)
    assert told(TREES, verify=0) == (8, 0)
    assert told(TREES, verify=99) == (8, everything)
    assert told([*TREES, tree(99)], verify=0) == (9, tree(99).run_tokens)


@pytest.mark.parametrize("tokens", [True, False])
def test_a_stored_row_that_is_wrong_is_noticed(cache: Path, tokens: bool) -> None:
    sums = stored(tokens=tokens).sums[5]
    key = store.tree_key(f"{store.VERSION} weights cpu torch.float32", TREES[5])
    wrong = store._to_row(store.TreeLogps([sums[0], sums[1] + 2 * sum_tolerance(torch.float32, 9)]))
    change(cache, "UPDATE trees SET sums = ? WHERE key = ?", wrong.sums, key)
    with pytest.raises(FavoniusError, match=r"logps\.sqlite: the log-prob of sequence 2 of row 6 of 8 was stored as"):
        stored(tokens=tokens, verify=8)
    assert stored(verify=0).verified == 0
    assert stored(TREES[:5]).verified == 2, "other rows are not touched by it"


def test_a_stored_token_that_is_wrong_is_noticed_where_the_sum_is_right(cache: Path) -> None:
    found = stored(tokens=True).by_tree[1]
    assert found.tokens is not None
    found.tokens[0][3] += 0.5
    key = store.tree_key(f"{store.VERSION} weights cpu torch.float32", TREES[1])
    change(cache, "UPDATE trees SET tokens = ? WHERE key = ?", store._to_row(found).tokens, key)
    with pytest.raises(FavoniusError, match="the log-prob of token 4 of sequence 1 of row 2 of 8"):
        stored(tokens=True, verify=8)
    assert stored(verify=8).verified == 8, "who asks for sums gets sums"


def test_weights_that_are_not_those_of_their_digest_are_noticed() -> None:
    stored()
    other = tiny_model("llama", seed=1)
    with pytest.raises(FavoniusError, match="delete that file and run again"):
        stored_logps(other, "weights", TREES, BUDGET)


@pytest.mark.parametrize("model", [MODEL, BF16])
def test_packing_and_kernels_stay_within_the_tolerance(model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    trees = [tree(seed, prompt=40, answer=60) for seed in range(6)]
    stored_logps(model, "weights", trees, 10_000, tokens=True)  # type: ignore[arg-type]
    monkeypatch.setattr("favonius.trees.blocks.BLOCK", 16)
    found = stored_logps(model, "weights", trees, 64, tokens=True, verify=6)  # type: ignore[arg-type]
    assert (found.computed, found.verified) == (0, 6)


def test_rows_that_are_verified_are_drawn_by_their_content() -> None:
    keys = [store.tree_key("setting", tree(seed)) for seed in range(60)]
    known = dict.fromkeys(range(40), store.TreeLogps([]))
    assert store._draw(keys, known, 2) == store._draw(keys, known, 2)
    assert len({tuple(store._draw(keys[start:], known, 2)) for start in range(20)}) > 10
    assert store._draw(keys, {7: store.TreeLogps([])}, 2) == [7] and store._draw(keys, {}, 2) == []


@pytest.mark.parametrize("damage", ["text", "half", "head", "row"])
def test_a_damaged_file_is_set_aside_and_said(cache: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    many = [tree(seed, answer=30) for seed in range(60)]
    stored(many, tokens=True)
    file = cache / FILE
    match damage:
        case "text":
            file.write_text("no database " * 500)
        case "half":
            os.truncate(file, file.stat().st_size // 2)
        case "head":
            file.write_bytes(file.read_bytes()[:50])
        case "row":
            change(cache, "UPDATE trees SET tokens = x'00'")
    assert capsys.readouterr().err == ""
    found = stored(many, tokens=True)
    said = capsys.readouterr().err
    assert "logps.sqlite is damaged (" in said and "kept as logps.sqlite.damaged" in said and said.count("\n") == 1
    assert (found.computed, found.verified) == (60, 0)
    assert (cache / "logps.sqlite.damaged").exists()
    assert stored(many, tokens=True).computed == 0 and capsys.readouterr().err == ""


def test_damage_that_comes_to_light_in_the_middle_ends_no_pass(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls = 0

    def tears(trees: int, tokens: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:  # after two packs
            database = sqlite3.connect(cache / FILE)
            database.executescript(
                "PRAGMA writable_schema = ON; UPDATE sqlite_master SET rootpage = 9999; PRAGMA schema_version = 99;"
            )
            database.close()

    found = stored(done=tears)
    assert found.computed == 8 and len(found.sums) == 8
    assert "logps.sqlite is damaged" in capsys.readouterr().err
    packs = plan(TREES, BUDGET)
    assert stored().computed == len(packs[0]) + len(packs[1]), "what the damage took, and no more"


def test_a_file_that_another_process_has_replaced_is_not_set_aside_again(cache: Path) -> None:
    key, row = "key", store.Row(b"\0" * 8)
    late = LogpsFile(cache / FILE)
    late.write({key: row})
    (cache / FILE).replace(cache / "logps.sqlite.damaged")
    first = LogpsFile(cache / FILE)
    first.write({"another": row})
    late._set_aside(Exception("as the first process found"))
    assert late.read(["another"], False, [(8, 0)]) == {0: row}
    late.close()
    first.close()


def test_a_full_disk_is_a_sentence_and_what_was_stored_stays(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trees = [tree(seed, answer=120) for seed in range(24)]
    opened = LogpsFile._connection
    packs = 0

    def small_disk(file: LogpsFile) -> sqlite3.Connection:
        database = opened(file)
        database.execute("PRAGMA max_page_count = 6")
        return database

    def done(count: int, tokens: int) -> None:
        nonlocal packs
        packs += count

    monkeypatch.setattr(LogpsFile, "_connection", small_disk)
    with pytest.raises(
        FavoniusError, match=r"logps\.sqlite: log-probs cannot be kept here \(database or disk is full\)"
    ):
        stored(trees, tokens=True, done=done)
    monkeypatch.setattr(LogpsFile, "_connection", opened)
    assert 0 < packs < 24
    assert stored(trees, tokens=True).computed == 24 - packs


def test_a_folder_that_cannot_be_written_is_a_sentence(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(FavoniusError, match="let FAVONIUS_CACHE name a folder that can be written"):
        stored()
