"""What stands beside a GGUF file: Ollama's Modelfile, and how llama.cpp and vLLM are told to serve it."""

from __future__ import annotations

from dataclasses import dataclass

from favonius.chat.format import ChatFormat
from favonius.errors import UserError
from favonius.types import Message, Messages, Role, Sampling

MARKS: dict[Role, str] = {"system": "SYSTEM-TEXT", "user": "USER-TEXT", "assistant": "ASSISTANT-TEXT"}


@dataclass(frozen=True)
class Turns:
    """A chat template that writes turn after turn: what stands around each role's words, and at the ends."""

    opening: str
    """Before a dialogue without a system message."""
    around: dict[Role, tuple[str, str]]
    asking: str
    """Where the assistant's turn begins."""

    def text(self, messages: Messages) -> str:
        begun = "" if messages[0].role == "system" else self.opening
        turns = (self.around[one.role][0] + one.content + self.around[one.role][1] for one in messages)
        return begun + "".join(turns) + self.asking

    def go(self) -> str:
        """As a template in Go, which is Ollama's language."""
        kinds = [
            f'{{{{ if eq .Role "{role}" }}}}{_literal(before)}{{{{ .Content }}}}{_literal(after)}{{{{ end }}}}'
            for role, (before, after) in self.around.items()
        ]
        opening = f"{{{{ if not .System }}}}{_literal(self.opening)}{{{{ end }}}}" if self.opening else ""
        return f"{opening}{{{{ range .Messages }}}}{''.join(kinds)}{{{{ end }}}}{_literal(self.asking)}"


def turns(form: ChatFormat) -> Turns | None:
    """The form's template as turns, and None where it does more than that, or knows no system message."""
    try:
        found = _probed(form)
        return found if all(_same(form, found, one) for one in _dialogues()) else None
    except UserError:  # the template rejects one of the dialogues
        return None


def modelfile(form: ChatFormat, file: str, context: int) -> str:
    """Ollama's description of the model in `file`, which lies beside it."""
    sampling, template = Sampling(), turns(form)
    ends = [form.tokenizer.convert_ids_to_tokens(index) for index in sorted(form.end_ids)]
    said = (
        f'TEMPLATE """{template.go()}"""'
        if template is not None
        else "# Its chat template does not go turn by turn: Ollama reads the one in the GGUF file."
    )
    lines = [
        f"FROM ./{file}",
        said,
        *(f'PARAMETER stop "{end}"' for end in ends),
        f"PARAMETER temperature {sampling.temperature}",
        f"PARAMETER top_p {sampling.top_p}",
        f"PARAMETER num_ctx {context}",
    ]
    return "\n".join(lines) + "\n"


def commands(name: str, file: str, context: int) -> str:
    """Command lines that serve `file`."""
    sampling = Sampling()
    drawing = f"--temp {sampling.temperature} --top-p {sampling.top_p} --top-k 0 --min-p 0"
    return f"""\
# llama.cpp: talk to it, or serve it at http://127.0.0.1:8080/v1
llama-cli -m {file} --jinja -c {context} {drawing}
llama-server -m {file} --jinja -c {context} {drawing}

# Ollama
ollama create {name} -f Modelfile
ollama run {name}

# vLLM serves the folder DIR of `favonius export … --to hf --out DIR`, at http://127.0.0.1:8000/v1
vllm serve DIR --max-model-len {context}
"""


def _probed(form: ChatFormat) -> Turns:
    """Closings are what follows the last words of a dialogue; openings, what is left between two turns."""
    system, user, assistant = MARKS.values()
    begin = form.tokenizer.bos_token or ""
    alone = form.text(_messages("user"), asking=False).removeprefix(begin)
    answered = form.text(_messages("user", "assistant"), asking=False)
    again = form.text(_messages("user", "assistant", "user"), asking=False)
    told = form.text(_messages("system", "user"), asking=False).removeprefix(begin)
    after_user, after_assistant = alone.partition(user)[2], answered.partition(assistant)[2]
    before_user = again.partition(assistant)[2].partition(user)[0].removeprefix(after_assistant)
    before_assistant = answered.partition(user)[2].partition(assistant)[0].removeprefix(after_user)
    before_system, _, rest = told.partition(system)
    return Turns(
        opening=alone.partition(user)[0].removesuffix(before_user),
        around={
            "system": (before_system, rest.partition(user)[0].removesuffix(before_user)),
            "user": (before_user, after_user),
            "assistant": (before_assistant, after_assistant),
        },
        asking=form.text(_messages("user")).removeprefix(begin).removeprefix(alone),
    )


def _same(form: ChatFormat, found: Turns, messages: Messages) -> bool:
    begin = form.tokenizer.bos_token or ""
    return form.text(messages).removeprefix(begin) == found.text(messages)


def _dialogues() -> list[Messages]:
    kinds: list[tuple[Role, ...]] = [("user",), ("system", "user"), ("user", "assistant", "user")]
    return [_messages(*roles) for roles in [*kinds, ("system", "user", "assistant", "user", "assistant", "user")]]


def _messages(*roles: Role) -> Messages:
    return tuple(Message(role=role, content=MARKS[role]) for role in roles)


def _literal(text: str) -> str:
    return text.replace("{{", '{{ "{{" }}')
