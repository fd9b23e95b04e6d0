"""A tokenizer and its chat template: dialogues to token ids and masks, token ids to text.

Training, judging, answering and chat all call `ChatFormat.encode` or `ChatFormat.prompt_ids`; nothing else in the
package renders a template, so what a model is trained on is what it is later asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import AutoTokenizer

from favonius.errors import UserError
from favonius.run import ModelSource
from favonius.types import Message, Messages


class ControlTokenError(UserError):
    """A text holds, spelled out, a token that means something to the model, such as its end of turn."""


@dataclass(frozen=True)
class Encoded:
    """Token ids of a dialogue and, for each, whether it is the assistant's: words and end of turn."""

    ids: list[int]
    scored: list[bool]


class ChatFormat:
    """`tokenizer` must be a fast one (offsets are needed); its `chat_template` is the one used."""

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise UserError("the tokenizer is not a fast one, and only those give offsets; add a tokenizer.json")
        if not tokenizer.chat_template:
            raise UserError("the tokenizer has no chat template; set `template: zephyr` for this model in the recipe")
        self.tokenizer = tokenizer
        self._control_tokens = tuple(
            token.content for token in tokenizer.added_tokens_decoder.values() if token.special and token.content
        )
        opening = tokenizer("", add_special_tokens=True)["input_ids"]
        self._bos = [tokenizer.bos_token_id] if opening[:1] == [tokenizer.bos_token_id] else []
        probe = self.encode((Message(role="user", content="a"), Message(role="assistant", content="b")))
        last = max(index for index, scored in enumerate(probe.scored) if scored)
        self.end_ids = frozenset({probe.ids[last], tokenizer.eos_token_id} - {None})
        """Tokens that end an assistant turn."""

    @classmethod
    def load(cls, source: ModelSource) -> ChatFormat:
        try:
            tokenizer = AutoTokenizer.from_pretrained(source.folder)
        except (OSError, ValueError) as error:
            raise UserError(f"model {source.name}: its tokenizer cannot be read ({error})") from error
        if source.template is not None:
            tokenizer.chat_template = source.template
        return cls(tokenizer)

    def encode(self, messages: Messages, finished: bool = True, only_last: bool = False) -> Encoded:
        """Ids of a whole dialogue. Scored: every assistant turn's content and end token, or `only_last` of them.

        finished: False leaves the end token of the last turn unscored, for an answer that was cut off.
        Raises ControlTokenError where a message holds one, UserError where the template rejects the dialogue.
        """
        text = self._render(messages, generation_prompt=False)
        turns = [index for index, message in enumerate(messages) if message.role == "assistant"]
        spans = [
            self._span(messages, text, index, finished or index != turns[-1])
            for index in (turns[-1:] if only_last else turns)
        ]
        encoding = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        bos = self._opening(text)
        # Overlap, not containment: a token that begins before the span and reaches into it predicts the answer too.
        scored = [
            any(start < span_end and end > span_start for span_start, span_end in spans)
            for start, end in encoding["offset_mapping"]
        ]
        return Encoded([*bos, *encoding["input_ids"]], [False] * len(bos) + scored)

    def prompt_ids(self, messages: Messages) -> list[int]:
        """Ids up to where the assistant's next turn begins."""
        text = self._render(messages, generation_prompt=True)
        return [*self._opening(text), *self.tokenizer(text, add_special_tokens=False)["input_ids"]]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _opening(self, text: str) -> list[int]:
        """BOS, once: some templates write it themselves."""
        return [] if self._bos and text.startswith(self.tokenizer.bos_token) else self._bos

    def _render(self, messages: Messages, generation_prompt: bool) -> str:
        for message in messages:
            for token in self._control_tokens:
                if token in message.content:
                    raise ControlTokenError(
                        f"a {message.role} message holds the control token {token}; take it out of the text"
                    )
        try:
            text = self.tokenizer.apply_chat_template(
                [message.model_dump() for message in messages], tokenize=False, add_generation_prompt=generation_prompt
            )
        except Exception as error:  # Jinja raises its own kinds, and templates raise through it
            raise UserError(f"the chat template rejects a dialogue: {error}") from error
        return str(text)

    def _span(self, messages: Messages, text: str, index: int, with_end: bool) -> tuple[int, int]:
        """Where in `text` assistant turn `index` stands: content, and the end token if asked for."""
        before = self._render(messages[:index], generation_prompt=True)
        through = self._render(messages[: index + 1], generation_prompt=False)
        if not (through.startswith(before) and text.startswith(through.rstrip())):
            raise UserError("the chat template rewrites earlier turns when later ones come, so no turn can be scored")
        turn = through[len(before) :]
        content = messages[index].content
        start = turn.find(content)
        if start < 0:
            content = content.strip()  # many templates trim what they are given
            start = turn.find(content)
        if start < 0:
            raise UserError("the chat template changes the assistant's words, so they cannot be scored")
        end = start + len(content)
        if with_end:
            ends = [turn.find(token, end) + len(token) for token in self._control_tokens if token in turn[end:]]
            end = min(ends, default=end)
        return len(before) + start, len(before) + end
