"""Chat in the terminal with what a run has made: streamed, multi-turn."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

from favonius.engines.config import Transformers
from favonius.engines.transformers_engine import TransformersEngine
from favonius.errors import UserError
from favonius.run import ModelSource, StepFolder
from favonius.types import Message, Messages, Request, RequestError, Sampling

HELP = "Type a message; /new starts over, /quit (or Ctrl-D) leaves."
CONTEXT_TOKENS = 2048


def chat(
    run: Path,
    step: str | None,
    sampling: Sampling,
    system: str | None = None,
    reading: TextIO = sys.stdin,
    writing: TextIO = sys.stdout,
) -> None:
    """Talk to the model of train step `step`, or of the run's last finished one."""
    source = trained_model(run, step)
    opening: Messages = () if system is None else (Message(role="system", content=system),)
    with TransformersEngine(source, Transformers(slots=1, context_tokens=CONTEXT_TOKENS)) as engine:
        writing.write(f"{run.name}/{source.name}. {HELP}\n")
        messages = opening
        while (line := _read(reading, writing)) is not None:
            if line == "/new":
                messages = opening
            elif line:
                messages = _turn(engine, (*messages, Message(role="user", content=line)), sampling, writing)
    writing.write("\n")


def trained_model(run: Path, step: str | None) -> ModelSource:
    """The weights of a finished train step. UserError where there are none, naming the steps that have some."""
    folders = [folder for folder in run.iterdir() if (folder / "model").is_dir()] if run.is_dir() else []
    finished = {folder.name: manifest for folder in folders if (manifest := StepFolder(folder).manifest()) is not None}
    if not finished:
        raise UserError(f"{run}: no train step has finished here; `favonius status {run}` tells where the run stands")
    if step is None:
        step = max(finished, key=lambda name: finished[name].finished_at)
    if step not in finished:
        raise UserError(f"{run}: step {step} has no model; those that have: {', '.join(sorted(finished))}")
    return ModelSource(step, run / step / "model", finished[step].output_digest())


def _read(reading: TextIO, writing: TextIO) -> str | None:
    """One line from the user; None at the end."""
    writing.write("\n> ")
    writing.flush()
    line = reading.readline()
    return None if not line or line.strip() == "/quit" else line.strip()


def _turn(engine: TransformersEngine, messages: Messages, sampling: Sampling, writing: TextIO) -> Messages:
    """Stream the answer and return the dialogue with it; a message that cannot be answered is taken back."""
    pieces = []
    try:
        for piece in engine.stream(Request(model=engine.model, messages=messages, sampling=sampling)):
            pieces.append(piece)
            writing.write(piece)
            writing.flush()
    except RequestError as error:  # too long, or a control token: the talk goes on without that message
        writing.write(f"[{error}]")
        return messages[:-1]
    writing.write("\n")
    answer = "".join(pieces).strip()
    return (*messages, Message(role="assistant", content=answer)) if answer else messages[:-1]
