"""Chat in the terminal: what is typed, what is shown, what is kept."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from favonius.chat.format import ChatFormat
from favonius.data.rows import read_rows
from favonius.engines.writing import Written
from favonius.run import ModelSource
from favonius.serve import terminal
from favonius.serve.terminal import chat
from favonius.types import Completion, Dialogue, Sampling
from tests.tiny import save_tiny


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelSource]:
    folder = tmp_path_factory.mktemp("models")
    families = (("base", "llama"), ("ddpo", "qwen3"))
    return {name: ModelSource(name, save_tiny(folder / name, family), name) for name, family in families}


def talk(sources: dict[str, ModelSource], *lines: str, system: str | None = None, **sampling: object) -> list[str]:
    """What is shown after each line."""
    shown = io.StringIO()
    typed = io.StringIO("".join(f"{line}\n" for line in lines))
    settings = Sampling(**{"temperature": 0.0, "max_tokens": 8, **sampling})  # type: ignore[arg-type]
    chat(Path("run"), sources, "ddpo", settings, system, typed, shown)
    return [text.strip() for text in shown.getvalue().split("\n> ")]


def test_answers_depend_on_the_talk_so_far(sources: dict[str, ModelSource]) -> None:
    greeting, first, second, *_ = talk(sources, "Hello?", "Hello?", "/new", "Hello?")
    assert greeting.startswith("run/ddpo. Type a message")
    assert first and second and first != second
    assert talk(sources, "Hello?", "/new", "Hello?")[3] == first
    assert talk(sources, "Hello?", system="Be brief.")[1] != first
    assert (
        talk(sources, "/system Be brief.", "Hello?", "/new", "Hello?")[2::2]
        == [talk(sources, "Hello?", system="Be brief.")[1]] * 2
    )


def test_without_a_text_there_is_no_system_message(sources: dict[str, ModelSource]) -> None:
    told, alone = talk(sources, "/system", "Hello?", "/history", system="Be brief."), talk(sources, "Hello?")
    assert told[1] == "[a new talk, without a system message]"
    assert told[2] == alone[1] and told[3].startswith("user: Hello?")


class Stopping(io.StringIO):
    """A terminal whose user presses Ctrl-C at the third piece of an answer."""

    pieces = 0

    def write(self, text: str) -> int:
        if not text.startswith(("\n", "[", " [", "run/")):
            self.pieces += 1
            if self.pieces == 3:
                os.kill(os.getpid(), signal.SIGINT)
        return super().write(text)


def test_ctrl_c_stops_an_answer_and_keeps_what_there_is_of_it(sources: dict[str, ModelSource]) -> None:
    shown = Stopping()
    typed = io.StringIO("Hello?\n/history\nAnd then?\n")
    chat(Path("run"), sources, "ddpo", Sampling(temperature=0.0, max_tokens=400), None, typed, shown)
    _, stopped, history, later = (text.strip() for text in shown.getvalue().split("\n> ")[:4])
    assert stopped.endswith("[stopped]") and len(stopped) < 200
    assert history == f"user: Hello?\nassistant: {stopped.removesuffix('[stopped]').strip()}"
    assert later and not later.startswith("[")


def test_what_is_no_text_is_told_and_the_talk_goes_on(sources: dict[str, ModelSource]) -> None:
    shown = io.StringIO()
    typed = io.TextIOWrapper(io.BytesIO("Grüße\n".encode("latin-1") + b"Hello?"), encoding="utf-8")
    chat(Path("run"), sources, "ddpo", Sampling(temperature=0.0, max_tokens=8), None, typed, shown)
    answers = [text.strip() for text in shown.getvalue().split("\n> ")]
    assert answers[1] == "[this is not written in UTF-8]"
    assert answers[2] == talk(sources, "Hello?")[1]


def test_another_answer_takes_the_place_of_the_last(sources: dict[str, ModelSource]) -> None:
    shown = talk(sources, "/regenerate", "Hello?", "/regenerate", "/history", temperature=1.5)
    assert shown[1] == "[there is no message yet]"
    assert shown[2] != shown[3]
    assert shown[4].startswith("user: Hello?") and shown[4].count("assistant:") == 1


def test_other_models_answer_the_same_message(sources: dict[str, ModelSource]) -> None:
    shown = talk(sources, "/compare", "Hello?", "/compare", "/compare base", "/compare nobody")
    assert shown[1] == "[there is nothing to compare yet]"
    assert shown[3].startswith("base: ") and shown[3] == shown[4]
    assert shown[3].removeprefix("base: ") != shown[2]
    assert shown[5] == "[there is no model nobody; there are base, ddpo]"


def test_a_talk_is_saved_as_a_row_to_learn_from(sources: dict[str, ModelSource], tmp_path: Path) -> None:
    file = tmp_path / "talks.jsonl"
    shown = talk(sources, "/save", f"/save {file}", "Hello?", "/save", f"/save {file}", f"/save {tmp_path}")
    assert shown[1] == "[name a file: /save talks.jsonl]" == shown[4]
    assert shown[2] == "[say something first]"
    assert shown[6] == f"[{tmp_path}: Is a directory]"
    [row] = read_rows(file, Dialogue)
    assert [message.role for message in row.messages] == ["user", "assistant"] and row.source == "ddpo"


def test_what_cannot_be_answered_is_taken_back(sources: dict[str, ModelSource]) -> None:
    shown = talk(sources, "a </s> b", "/history", "/nonsense", "/help")
    assert shown[1].startswith("[") and "</s>" in shown[1]
    assert shown[2] == ""
    assert shown[3] == "[/nonsense is no command; /help lists them]"
    assert "/regenerate" in shown[4]


class Steering:
    """An engine whose answer would clear the screen."""

    model, context_tokens = "m", 64

    def __init__(self, source: ModelSource, config: object) -> None:
        self.form = ChatFormat.load(source)

    def __enter__(self) -> Steering:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    async def write(self, prompted: object) -> AsyncGenerator[str | Written, None]:
        for piece in ("\x1b[2J", "a\r\nb\x07"):
            yield piece
        yield Written(Completion(text="\x1b[2Ja", finish="stop", prompt_tokens=1, completion_tokens=2))


def test_what_a_model_writes_does_not_steer_the_terminal(
    sources: dict[str, ModelSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "TransformersEngine", Steering)
    _, answer, history, *_ = talk(sources, "Hello?", "/history")
    assert answer == "\\u001b[2Ja\nb\\u0007"
    assert "assistant: \\u001b[2Ja" in history
