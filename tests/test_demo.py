"""The web chat: its client against our server, its duels, and the page itself in a browser, wide and on a phone."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import random
import shutil
import signal
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from favonius.cli import demo as command
from favonius.cli import main
from favonius.engines.config import Transformers
from favonius.engines.transformers_engine import TransformersEngine
from favonius.errors import FavoniusError, UserError
from favonius.run import ModelSource
from favonius.serve.app import Limits
from favonius.serve.demo.client import Client, Heard, side_by_side
from favonius.serve.demo.duel import Duel, draw_sides, fight
from favonius.serve.demo.looks import table_of_wins
from favonius.serve.demo.markdown import without_html
from favonius.serve.demo.server import Page, application, serving_page
from favonius.serve.demo.standings import standings
from favonius.serve.demo.votes import Reading, Vote, add, read
from favonius.serve.models import Models
from favonius.serve.server import listening
from favonius.types import Message, Messages, RequestError, Sampling
from tests.test_votes import vote
from tests.tiny import save_tiny

KEY = "a-key-of-many-letters"
PASSWORD = "a password of many letters".replace(" ", "-")
ASKED: Messages = (Message(role="user", content="What is the sky?"),)
SHORT = Sampling(max_tokens=12, seed=5)
CONTEXT = 1024  # more than the page asks for by itself
CHROMIUM = shutil.which("chromium")

needs_gradio = pytest.mark.skipif(find_spec("gradio") is None, reason="gradio is not installed")
needs_browser = pytest.mark.skipif(
    find_spec("gradio") is None or find_spec("playwright") is None or CHROMIUM is None,
    reason="needs gradio, playwright and chromium",
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelSource]:
    folder = tmp_path_factory.mktemp("models")
    return {
        name: ModelSource(name, save_tiny(folder / name, family), f"digest of {name}")
        for name, family in (("base", "llama"), ("ddpo", "qwen3"))
    }


def models_of(sources: dict[str, ModelSource]) -> Models:
    config = Transformers(slots=2, context_tokens=CONTEXT)
    return Models({name: partial(TransformersEngine, source, config) for name, source in sources.items()})


async def told(answer: AsyncGenerator[Heard, None]) -> list[Heard]:
    return [heard async for heard in answer]


def test_an_answer_grows_and_says_how_it_ended(sources: dict[str, ModelSource]) -> None:
    async def talk() -> None:
        async with listening(models_of(sources), "127.0.0.1", 0, Limits(), KEY) as address:
            client = Client(address, KEY)
            assert await client.models() == ["base", "ddpo"]
            grown = await told(client.answer("ddpo", ASKED, SHORT))
            assert len(grown) > 2 and all(a.text in b.text for a, b in pairwise(grown))
            assert grown[-1].done and grown[-1].finish in ("stop", "length") and not grown[-2].done
            other = (await told(client.answer("base", ASKED, SHORT)))[-1]
            assert grown[-1].fingerprint and other.fingerprint not in (None, grown[-1].fingerprint)
            again = (await told(client.answer("ddpo", ASKED, SHORT)))[-1]
            assert again == grown[-1]
            long = Sampling(max_tokens=CONTEXT)
            with pytest.raises(RequestError, match=f"{CONTEXT}"):  # the server's own sentence
                await told(client.answer("ddpo", ASKED, long))
            with pytest.raises(RequestError, match="there is no model dsft; served are base, ddpo"):
                await told(client.answer("dsft", ASKED, SHORT))
            with pytest.raises(FavoniusError, match="the API key is missing or wrong"):
                await Client(address).models()

    asyncio.run(talk())


def test_a_server_that_is_not_there_is_one_sentence() -> None:
    nowhere = Client("http://127.0.0.1:1/v1")
    with pytest.raises(FavoniusError, match=r"^http://127\.0\.0\.1:1/v1: cannot be reached"):
        asyncio.run(nowhere.models())
    with pytest.raises(RequestError, match="the server cannot be reached"):
        asyncio.run(told(nowhere.answer("m", ASKED, SHORT)))


def test_a_duel_is_two_answers_at_once_and_one_vote(sources: dict[str, ModelSource]) -> None:
    async def duel() -> Duel:
        async with listening(models_of(sources), "127.0.0.1", 0, Limits(), None) as address:
            begun = Duel(ASKED, SHORT, ("ddpo", "base"))
            assert not begun.open
            rounds = [fought async for fought in fight(begun, Client(address))]
            assert {fought.models for fought in rounds} == {("ddpo", "base")}
            return rounds[-1]

    fought = asyncio.run(duel())
    assert fought.open
    cast = fought.vote("b")
    assert (cast.a.model, cast.b.model, cast.verdict, cast.prompt) == ("ddpo", "base", "b", ASKED)
    assert cast.a.text == fought.heard[0].text and cast.a.finished == (fought.heard[0].finish == "stop")
    assert cast.a.fingerprint != cast.b.fingerprint and cast.sampling == SHORT


def test_one_answer_that_cannot_be_had_leaves_the_other(tmp_path: Path) -> None:
    closed: list[str] = []

    async def answer(*texts: str, trouble: str = "") -> AsyncGenerator[Heard, None]:
        try:
            for text in texts:
                await asyncio.sleep(0)
                yield Heard(text)
            if trouble:
                raise RequestError(trouble)
            yield Heard(texts[-1], "stop")
        finally:
            closed.append(texts[0])

    async def rounds(least: int) -> tuple[Heard, ...]:
        async with aclosing(side_by_side([answer("a", "ab", "abc"), answer("x", trouble="too long")])) as both:
            heard = [both_ async for both_ in both if len(closed) >= least]
        return heard[-1]

    first, second = asyncio.run(rounds(0))
    assert first == Heard("abc", "stop") and first.done
    assert second == Heard("x", trouble="too long") and not second.done
    assert not Duel(ASKED, SHORT, ("m", "n"), (first, second)).open

    async def leave() -> None:
        async with aclosing(side_by_side([answer("left"), answer(*("right",) * 9999)])) as both:
            async for _ in both:
                break

    closed.clear()
    asyncio.run(leave())
    assert sorted(closed) == ["left", "right"]


def test_sides_are_drawn_and_picks_are_kept() -> None:
    rng = random.Random(0)
    drawn = {draw_sides(["a", "b", "c"], [], rng) for _ in range(200)}
    assert len(drawn) == 6
    assert {frozenset(draw_sides(["a", "b", "c"], ["b"], rng)) for _ in range(50)} == {frozenset("ab"), frozenset("bc")}
    assert {draw_sides(["a", "b", "c"], ["c", "a"], rng) for _ in range(50)} == {("a", "c"), ("c", "a")}
    with pytest.raises(UserError, match="two different models"):
        draw_sides(["a", "b"], ["a", "a"], rng)
    with pytest.raises(UserError, match="the server has only a"):
        draw_sides(["a"], [], rng)


def test_the_table_of_wins_shows_what_models_are_called() -> None:
    shown = table_of_wins(standings([vote("a", a="<i>a</i>"), vote("tie", "Two?", a="<i>a</i>")]), torn=2)
    assert "<strong>&lt;i&gt;a&lt;/i&gt;</strong> against dsft" in shown
    assert "75&nbsp;%" in shown and "2 votes: 1 won, 0 lost, 1 tied, 0 both bad" in shown
    assert "2 lines of the file are torn" in shown
    assert table_of_wins([], torn=0) == ""


@needs_gradio
def test_the_command_serves_a_page_and_ends(
    tmp_path: Path, sources: dict[str, ModelSource], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add(tmp_path / "votes.jsonl", vote("a"))

    def already() -> asyncio.Event:
        stop = asyncio.Event()
        stop.set()
        return stop

    monkeypatch.setattr(command, "stop_signal", already)
    monkeypatch.setattr(command, "saved_recipe", lambda run: None)
    monkeypatch.setattr(command, "models_of", lambda *_: models_of(sources))
    assert main(["demo", str(tmp_path), "--port", "0"]) == 0
    said = capsys.readouterr().err
    assert "chats with base, ddpo; Ctrl-C ends it" in said
    assert f"votes go to {tmp_path / 'votes.jsonl'}, which holds 1 vote\n" in said


@needs_gradio
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none"], "none: there is no such run folder"),
        (["run", "--api-key-file", "key"], "--api-key-file holds the key of another server; name that with --server"),
        (["run", "--server", "http://127.0.0.1:1/v1"], "http://127.0.0.1:1/v1: cannot be reached"),
        (["run", "--server", "http://127.0.0.1:1/v1", "--password-file", "key"], "must hold one key of 12 characters"),
        (["run"], "run: there is no recipe.yaml here"),
    ],
)
def test_what_the_command_cannot_do_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str],
    sentence: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    Path("key").write_text("short\n")
    assert main(["demo", *arguments]) in (1, 2)
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1


def test_without_gradio_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("favonius.serve.demo.server.find_spec", lambda name: None)
    assert main(["demo", str(tmp_path)]) == 2
    assert "pip install 'favonius[demo]'" in capsys.readouterr().err


def _serve(sources: dict[str, ModelSource], votes: Path, password: str | None, pipe: Connection) -> None:
    """The page over a server of tiny models, as `favonius demo` has them, until something comes through the pipe."""
    faulthandler.register(signal.SIGUSR1)

    async def live() -> None:
        async with listening(models_of(sources), "127.0.0.1", 0, Limits(), KEY) as address:
            page = Page("a <run>", Client(address, KEY), tuple(sources), votes)
            async with serving_page(page, "127.0.0.1", 0, password) as own:
                pipe.send(own)
                await asyncio.to_thread(pipe.recv)

    asyncio.run(live())


@contextmanager
def opened(sources: dict[str, ModelSource], votes: Path, password: str | None = None) -> Iterator[str]:
    """The page's address, which a process of its own serves. On an error inside, that says what its threads do."""
    spawn = get_context("spawn")
    pipe, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(sources, votes, password, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        assert pipe.poll(280)
        yield pipe.recv()
    except BaseException:
        os.kill(process.pid or 0, signal.SIGUSR1)
        raise
    finally:
        pipe.send("stop")
        process.join(60)
        process.kill()


@needs_gradio
def test_who_may_see_the_page(sources: dict[str, ModelSource], tmp_path: Path) -> None:
    async def public() -> None:
        page = Page("run", Client("http://127.0.0.1:1/v1"), ("a", "b"), tmp_path / "votes.jsonl")
        async with serving_page(page, "0.0.0.0", 0, None):
            raise AssertionError("it must not open")

    with pytest.raises(UserError, match="others can reach it, so name a file that holds a password"):
        asyncio.run(public())
    with opened(sources, tmp_path / "votes.jsonl", PASSWORD) as address:
        with urlopen(address, timeout=60) as response:
            assert "default-src 'self'" in response.headers["Content-Security-Policy"]
        assert status(f"{address}/config") == 401
        assert status(f"{address}/login", b"username=x&password=wrong") == 400
        assert status(f"{address}/login", f"username=x&password={PASSWORD}".encode()) == 200
        assert status(address, Host="evil.example") == 400  # a name of somebody else's that leads to this machine
        with urlopen(Request(f"{address}/theme.css", headers={"Origin": "http://evil.example"}), timeout=60) as css:
            assert css.headers["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Use <div> or </s>, a < b & c", "Use &lt;div> or &lt;/s>, a &lt; b & c"),
        ("&lt; and &#60;", "&amp;lt; and &amp;#60;"),
        ("`<b>` <b> ``a ` <i>`` <i>", "`<b>` &lt;b> ``a ` <i>`` &lt;i>"),
        ("```html\n<p>\n```\n<p>", "```html\n<p>\n```\n&lt;p>"),
        ("- a\n  ~~~\n  <p>\n  ~~~\n<p>", "- a\n  ~~~\n  <p>\n  ~~~\n&lt;p>"),
        ("<p>\n```\n<p> is being writ", "&lt;p>\n```\n<p> is being writ"),
        ("a ` b <i>\n` <i>", "a ` b &lt;i>\n` &lt;i>"),
        ("$$a < b$$ $$ <i>", "$$a < b$$ $$ &lt;i>"),
    ],
)
def test_tags_are_shown_and_not_obeyed(text: str, shown: str) -> None:
    assert without_html(text) == shown


@needs_gradio
@pytest.mark.parametrize(
    ("host", "named", "answer"),
    [
        ("127.0.0.1", "127.0.0.1", 200),
        ("127.0.0.1", "localhost", 200),
        ("::1", "[::1]", 200),
        ("localhost", "127.0.0.1", 200),
        ("127.0.0.1", "evil.example", 400),
        ("::1", "evil.example", 400),
    ],
)
def test_this_machines_names_are_answered(host: str, named: str, answer: int, tmp_path: Path) -> None:
    from starlette.testclient import TestClient

    page = Page("run", Client("http://127.0.0.1:1/v1"), ("a", "b"), tmp_path / "votes.jsonl")
    asked = TestClient(application(page, host, None), base_url=f"http://{named}:7860")
    assert asked.get("/theme.css").status_code == answer


def status(address: str, data: bytes | None = None, **headers: str) -> int:
    try:
        with urlopen(Request(address, data, headers), timeout=60) as response:
            return int(response.status)
    except HTTPError as error:
        return error.code


def votes_in(path: Path) -> list[Vote]:
    return list(read(path, Reading()))


@needs_browser
@pytest.mark.parametrize(("width", "height"), [(1280, 860), (390, 844)])
def test_the_page_in_a_browser(sources: dict[str, ModelSource], tmp_path: Path, width: int, height: int) -> None:
    from playwright.sync_api import sync_playwright

    path = tmp_path / "votes.jsonl"
    beyond: list[str] = []
    with sync_playwright() as playwright, opened(sources, path) as address:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": width, "height": height}).new_page()
        page.set_default_timeout(60_000)
        page.on("request", lambda request: beyond.append(request.url))
        page.goto(address)
        _chat(page)
        _duel(page, path, width)
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        browser.close()
    assert overflow <= 0
    assert [url for url in beyond if not url.startswith((address, "data:", "blob:"))] == []


def _short(page: Any) -> None:
    """Answers of 16 tokens."""
    tab = page.get_by_role("tabpanel").filter(visible=True)
    tab.get_by_role("button", name="Settings").click()
    field = tab.get_by_role("spinbutton", name="Longest answer")
    field.fill("16")
    field.press("Tab")
    # The page takes a number that is typed too early back: then 512 tokens are asked for, which the server refuses.
    moved = tab.get_by_role("slider", name="Longest answer")
    for _ in range(100):
        if moved.input_value() == field.input_value() == "16":
            return
        page.wait_for_timeout(100)
        field.fill("16")
        field.press("Tab")
    pytest.fail("the setting does not stay")


def _send(page: Any, box: str, text: str) -> None:
    """The key is pressed in the box itself: a tab that is still being drawn may have moved the focus."""
    field = page.locator(f"{box} textarea")
    field.fill(text)
    field.press("Enter")


def _chat(page: Any) -> None:
    """A message gets an answer, another in its place, and is gone."""
    _short(page)
    question = "What is the <b>sky</b>?"  # a tag is shown, and not obeyed
    _send(page, "#chat-message", question)
    page.locator("#regenerate:not([disabled])").wait_for()
    asked, said = (page.locator(f"#talk [data-testid={role}]") for role in ("user", "bot"))
    assert asked.count() == said.count() == 1 and question in asked.inner_text()
    first = said.inner_text()
    assert first.strip() and page.locator("#chat-message textarea").input_value() == ""
    page.locator("#regenerate").click()
    other = "first => document.querySelector('#talk [data-testid=bot]')?.innerText !== first"
    page.wait_for_function(other, arg=first)
    page.locator("#regenerate:not([disabled])").wait_for()
    assert asked.count() == said.count() == 1
    page.locator("#clear").click()
    asked.wait_for(state="detached")


def _duel(page: Any, path: Path, width: int) -> None:
    """Two answers whose models are told after the vote, which is in the file by then."""
    page.get_by_role("tab", name="Side by side").click()
    _short(page)
    _send(page, "#duel-message", "What is the sun?")
    page.locator("#vote-b:not([disabled])").wait_for()
    a, b = page.locator("#side-a").bounding_box(), page.locator("#side-b").bounding_box()
    if width < 640:  # the answers stand above each other
        assert b["y"] >= a["y"] + a["height"] and a["x"] + a["width"] <= width
    else:
        assert b["x"] >= a["x"] + a["width"] and b["y"] == a["y"]
    heads = [page.locator(f"#head-{side}") for side in "ab"]
    assert [head.inner_text().split(" · ")[0].strip() for head in heads] == ["A", "B"]
    assert not any(name in head.inner_text() for head in heads for name in ("base", "ddpo"))
    assert not path.exists()
    page.locator("#vote-b").dblclick()  # the second click finds that the vote is cast
    page.locator("#wins .standing").wait_for()
    (cast,) = votes_in(path)
    assert cast.verdict == "b" and cast.prompt[-1].content == "What is the sun?" and cast.sampling.max_tokens == 16
    assert cast.a.model in heads[0].inner_text() and cast.b.model in heads[1].inner_text()
    assert f"{cast.b.model} against {cast.a.model}" in page.locator("#wins").inner_text()
    assert page.locator("#vote-a").is_disabled()
