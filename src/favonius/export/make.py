"""`export`: from a step of a run to a folder that is whole, checked and described."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from favonius.card.build import run_card
from favonius.card.nouns import write_card
from favonius.card.words import model_card, shown_source
from favonius.chat.format import ChatFormat
from favonius.errors import UserError
from favonius.export.adapter import check_adapter, write_adapter
from favonius.export.check_gguf import check_gguf
from favonius.export.gguf_file import architecture_of, write_gguf
from favonius.export.hf_folder import DTYPES, check_hf, write_hf
from favonius.export.ollama import commands, modelfile
from favonius.export.reference import tried
from favonius.export.steps import Origin, read_origin
from favonius.export.storage import STORAGES, Bound
from favonius.export.vocabulary import Vocabulary
from favonius.files import replacing_folder, write_text
from favonius.progress import Progress

Target = Literal["hf", "gguf", "adapter"]
LONGEST = 2048
"""Tokens of context that an export is tried with, at most: what it is tried with is short."""


@dataclass(frozen=True)
class Export:
    """What is wanted. `kind` is how the numbers are kept: of GGUF any of `STORAGES` (default f16), of a model folder
    f32, f16 or bf16 (default: as they are)."""

    step: Path
    to: Target
    kind: str | None = None
    out: Path | None = None

    def folder(self) -> Path:
        name = "-".join(part for part in (self.step.name, self.to, self._kind()) if part)
        return self.out or self.step.parent / "exports" / name

    def _kind(self) -> str | None:
        return self.kind or ("f16" if self.to == "gguf" else None)


def export(wanted: Export, progress: Progress) -> Path:
    """Write the export and return its folder, which appears only when every check is passed.

    UserError where the step, the type or the model's family will not do; MismatchError where what was written is not
    what the model is.
    """
    _refuse_kind(wanted)
    origin = read_origin(wanted.step)
    folder = wanted.folder()
    _refuse_place(folder, origin)
    form = ChatFormat.load(origin.source)
    with replacing_folder(folder) as temporary:
        match wanted.to:
            case "hf":
                _hf(origin, form, wanted.kind, temporary, progress)
            case "gguf":
                _gguf(origin, form, wanted.kind or "f16", temporary, progress)
            case "adapter":
                _adapter(origin, form, temporary, progress)
    return folder


def _hf(origin: Origin, form: ChatFormat, kind: str | None, folder: Path, progress: Progress) -> None:
    progress.say(f"writing {origin.step.name} for transformers")
    write_hf(origin.source, form, kind, folder)
    progress.say("checking it against the run's model")
    trials = tried(origin.source, form, LONGEST)
    same, prompts = check_hf(folder, form, kind, trials), sum(len(one.answers) for one in trials)
    checks = [
        f"`AutoTokenizer.apply_chat_template` gives the token ids of training on {prompts} prompts.",
        f"`AutoModelForCausalLM` writes the same greedy tokens on {same} of {prompts} prompts"
        + ("." if same == prompts else "; on the others it parts where two tokens are equally likely."),
    ]
    how = "Read it with transformers or vLLM; the chat template of its training is in the tokenizer."
    _finish(origin, origin.name, how, checks, "transformers", folder, progress)


def _gguf(origin: Origin, form: ChatFormat, kind: str, folder: Path, progress: Progress) -> None:
    architecture, storage = architecture_of(origin.source), STORAGES[kind]
    vocabulary = Vocabulary.of(form, int(architecture.config.vocab_size))
    file = folder / f"{origin.name}-{kind}.gguf"
    terms = [str(model["terms"]) for model in origin.begins_with() if model.get("terms")]
    about = {"name": origin.name} | ({"license": terms[0]} if terms else {})
    progress.say(f"writing {file.name}")
    write_gguf(origin.source, vocabulary, storage, about, file)
    progress.say("checking it in llama.cpp against the run's model")
    trials = tried(origin.source, form, min(architecture.context, LONGEST))
    found = check_gguf(file, origin.source, architecture, storage, form, trials)
    context = min(architecture.context, LONGEST)
    write_text(folder / "Modelfile", modelfile(form, file.name, context))
    write_text(folder / "commands.txt", commands(origin.name, file.name, context))
    reading, loss = found.reading, found.loss
    ends = " and ".join(f"`{form.decode([token])}`" for token in sorted(form.end_ids))
    checks = [
        f"Every tensor of the file is the model's, within what {kind} can hold.",
        f"llama.cpp renders the chat template to the same text and the same token ids on {found.prompts} prompts.",
        f"An answer in llama.cpp ends at {ends}.",
        f"Log-probs of {reading.tokens} tokens in llama.cpp are {reading.mean:.2g} nats off torch's with the very "
        f"weights that the file keeps, on average, and {reading.worst:.2g} at worst "
        f"({_of(storage.reading)} are allowed).",
        f"They are {loss.mean:.2g} nats off torch's with the weights as trained, on average, and {loss.worst:.2g} at "
        f"worst ({_of(storage.loss)} are allowed).",
        f"Greedy answers are the same, token for token, on {found.same_answers} of {found.prompts} prompts.",
    ]
    how = f"`{file.name}` is for llama.cpp, Ollama (`Modelfile`) and whatever reads GGUF; see `commands.txt`."
    _finish(origin, f"{origin.name} (GGUF, {kind})", how, checks, "gguf", folder, progress)


def _of(bound: Bound) -> str:
    return f"{bound.mean:g} and {bound.worst:g}"


def _adapter(origin: Origin, form: ChatFormat, folder: Path, progress: Progress) -> None:
    name = str(origin.step.config.get("model"))
    base = shown_source(str(origin.models[name]["source"])) if name in origin.models else f"{origin.run.name}-{name}"
    progress.say(f"writing the adapter of {origin.step.name}")
    write_adapter(origin, form, base, folder)
    progress.say("checking it over its base against the run's model")
    close = check_adapter(origin, form, tried(origin.source, form, LONGEST), folder)
    checks = [
        f"Over its base it gives the log-probs of the run's merged model: {close.tokens} tokens, {close.mean:.2g} nats "
        f"apart on average, {close.worst:.2g} at worst."
    ]
    how = f"This is the low-rank adapter alone, for peft over `{base}`."
    _finish(origin, f"{origin.name} (adapter)", how, checks, "peft", folder, progress)


def _finish(
    origin: Origin, title: str, how: str, checks: Sequence[str], library: str, folder: Path, progress: Progress
) -> None:
    card = run_card(origin.run, with_contents=False)
    write_card(folder / "card.json", card)
    write_text(folder / "README.md", model_card(card, origin.step.name, title, how, checks, library))
    for check in checks:
        progress.say(f"  {check}")


def _refuse_kind(wanted: Export) -> None:
    known = {"hf": tuple(DTYPES), "gguf": tuple(STORAGES), "adapter": ()}[wanted.to]
    if wanted.kind is not None and wanted.kind not in known:
        which = f"those that it has: {', '.join(known)}" if known else "leave --type out"
        raise UserError(f"--type {wanted.kind}: --to {wanted.to} has no such type; {which}")


def _refuse_place(folder: Path, origin: Origin) -> None:
    """What is in the place of an export is removed; nothing but an earlier export may be there."""
    made = ("README.md", "commands.txt", "adapter_config.json", "generation_config.json")
    if folder.exists() and (not folder.is_dir() or not any((folder / name).is_file() for name in made)):
        if folder.is_dir() and not any(folder.iterdir()):
            return
        raise UserError(f"--out {folder}: this is there and is no earlier export; name another folder")
    if folder.resolve() == origin.run.resolve() or (
        folder.parent.resolve() == origin.run.resolve() and folder.exists()
    ):
        raise UserError(f"--out {folder}: this belongs to the run; name another folder")
