"""Chat in the terminal with what a run has made: streamed, multi-turn, beside other models, kept in a file."""

from __future__ import annotations

import asyncio
import io
import secrets
import sys
from collections.abc import Mapping
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from favonius.data.rows import line_of
from favonius.engines.config import Transformers
from favonius.engines.prompting import prompted
from favonius.engines.transformers_engine import TransformersEngine
from favonius.engines.writing import Writer, Written
from favonius.phrases import printable
from favonius.run import ModelSource
from favonius.types import Dialogue, Message, Messages, Request, RequestError, Sampling

HELP = """\
/new           start over
/system TEXT   what the model is told before the talk (without TEXT: nothing); starts over
/regenerate    another answer to the last message
/compare [M]   what model M, or every other one, answers to the last message
/history       the talk so far
/save FILE     add the talk to a file of dialogues (.jsonl), which data steps read
/help, /quit   this list; leave (or Ctrl-D)
Ctrl-C         stop an answer, and keep what there is of it"""
GREETING = "Type a message; /help lists what else there is, /quit (or Ctrl-D) leaves."
CONTEXT_TOKENS = 2048


@dataclass
class Talk:
    """A conversation with the model called `speaker`, one of `sources`, which are opened as they are asked."""

    sources: Mapping[str, ModelSource]
    speaker: str
    sampling: Sampling
    writing: TextIO
    stack: ExitStack
    runner: asyncio.Runner
    messages: Messages = ()
    engines: dict[str, TransformersEngine] = field(default_factory=dict)
    drawn: int = 0
    """Answers that were asked for again: each has a seed of its own."""

    def say(self, text: str) -> None:
        """A model may write anything: what would steer the terminal is made visible."""
        self.writing.write(printable(text.replace("\r\n", "\n")))
        self.writing.flush()

    def answer(self, name: str, messages: Messages) -> str | None:
        """Stream an answer of one model; None where there is none to go on with, which is said."""
        if name not in self.engines:
            config = Transformers(slots=1, context_tokens=CONTEXT_TOKENS)
            self.engines[name] = self.stack.enter_context(TransformersEngine(self.sources[name], config))
        engine = self.engines[name]
        sampling = self.sampling.model_copy(update={"seed": self.sampling.seed + self.drawn})
        request = Request(model=engine.model, messages=messages, sampling=sampling)
        try:
            answer = self.runner.run(self._write(engine, request))
        except RequestError as error:  # too long, or a control token: the talk goes on without that message
            self.say(f"[{error}]\n")
            return None
        if not answer:
            self.say("[an empty answer]\n")
        return answer or None

    async def _write(self, engine: Writer, request: Request) -> str:
        told: list[str] = []
        try:
            async with aclosing(engine.write(prompted(engine.form, request, engine.context_tokens))) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Written):
                        self.say("\n")
                        return piece.completion.text.strip()
                    told.append(piece)
                    self.say(piece)
        except asyncio.CancelledError:  # Ctrl-C: the runner cancels what it runs, and only that
            self.say(" [stopped]\n")
            return "".join(told).strip()
        raise AssertionError("the writing ended without the whole")

    def hear(self, line: str) -> None:
        """A message of the user's."""
        asked = (*self.messages, Message(role="user", content=line))
        answer = self.answer(self.speaker, asked)
        if answer:
            self.messages = (*asked, Message(role="assistant", content=answer))

    def again(self) -> None:
        if not self.asked:
            self.say("[there is no message yet]\n")
            return
        self.drawn += 1
        answer = self.answer(self.speaker, self.asked)
        if answer:
            self.messages = (*self.asked, Message(role="assistant", content=answer))

    def compare(self, name: str) -> None:
        others = [name] if name else [one for one in self.sources if one != self.speaker]
        if unknown := [one for one in others if one not in self.sources]:
            self.say(f"[there is no model {unknown[0]}; there are {', '.join(self.sources)}]\n")
        elif not self.asked or not others:
            self.say("[there is nothing to compare yet]\n")
        else:
            for one in others:
                self.say(f"{one}: ")
                self.answer(one, self.asked)

    @property
    def asked(self) -> Messages:
        """The talk up to the last message of the user's."""
        return self.messages[:-1] if self.messages and self.messages[-1].role == "assistant" else ()

    def start_over(self, system: str | None = None) -> None:
        """Keep the system message there is, unless another is given; an empty one is none."""
        if system is not None:
            self.messages = (Message(role="system", content=system),) if system else ()
        else:
            self.messages = self.messages[:1] if self.messages and self.messages[0].role == "system" else ()

    def save(self, file: str) -> None:
        if not self.asked or not file:
            self.say("[say something first]\n" if file else "[name a file: /save talks.jsonl]\n")
            return
        row = Dialogue(id=f"chat-{secrets.token_hex(6)}", split="train", messages=self.messages, source=self.speaker)
        try:
            with open(Path(file).expanduser(), "a", encoding="utf-8") as talks:
                talks.write(line_of(row))
        except OSError as error:
            self.say(f"[{file}: {error.strerror}]\n")
        else:
            self.say(f"[added to {file}]\n")


def chat(
    run: Path,
    sources: Mapping[str, ModelSource],
    speaker: str,
    sampling: Sampling,
    system: str | None = None,
    reading: TextIO = sys.stdin,
    writing: TextIO = sys.stdout,
) -> None:
    """Talk to model `speaker` of a run, with the others at hand to be compared with it."""
    if isinstance(reading, io.TextIOWrapper):
        reading.reconfigure(errors="surrogateescape")  # bytes that are no text are told of, line by line
    with ExitStack() as stack, asyncio.Runner() as runner:
        talk = Talk(sources, speaker, sampling, writing, stack, runner)
        talk.start_over(system)
        talk.say(f"{run.name}/{speaker}. {GREETING}\n")
        while (line := _read(reading, writing)) is not None:
            _obey(talk, line)
    writing.write("\n")


def _obey(talk: Talk, line: str) -> None:
    command, _, rest = line.partition(" ")
    rest = rest.strip()
    match command:
        case "":
            pass
        case _ if any("\ud800" <= letter <= "\udfff" for letter in line):
            talk.say("[this is not written in UTF-8]\n")
        case "/new":
            talk.start_over()
            talk.say("[a new talk]\n")
        case "/system":
            talk.start_over(rest)
            talk.say(
                f"[a new talk, and the model is told: {rest}]\n" if rest else "[a new talk, without a system message]\n"
            )
        case "/regenerate":
            talk.again()
        case "/compare":
            talk.compare(rest)
        case "/save":
            talk.save(rest)
        case "/history":
            talk.say("".join(f"{message.role}: {message.content}\n" for message in talk.messages))
        case "/help":
            talk.say(f"{HELP}\n")
        case _ if command.startswith("/"):
            talk.say(f"[{command} is no command; /help lists them]\n")
        case _:
            talk.hear(line)


def _read(reading: TextIO, writing: TextIO) -> str | None:
    """One line from the user; None at the end. At a terminal, lines can be edited and called back, and Ctrl-C drops
    the one that is being typed."""
    if reading is sys.stdin and reading.isatty():
        try:
            import readline  # noqa: F401  # its import is what gives `input` an editor

            line = input("\n> ")
        except EOFError:
            return None
        except KeyboardInterrupt:
            writing.write("\n[/quit or Ctrl-D leaves]\n")
            return ""
    else:
        writing.write("\n> ")
        writing.flush()
        line = reading.readline()
        if not line:
            return None
    return None if line.strip() == "/quit" else line.strip()
