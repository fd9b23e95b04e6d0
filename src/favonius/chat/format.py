"""A tokenizer and its chat template: dialogues to token ids and masks, token ids to text.

Training, judging, answering and chat all call `ChatFormat.encode`, `encode_many` or `prompt_ids`; nothing else in the
package renders a template, so what a model is trained on is what it is later asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from transformers import AutoTokenizer

from favonius.chat.batches import Batches, Outcome
from favonius.chat.encoded import Encoded, Opening, by_offsets
from favonius.chat.rendering import ControlTokenError, Renderer
from favonius.errors import UserError, brief
from favonius.run import ModelSource
from favonius.types import Message, Messages

__all__ = ["ChatFormat", "ControlTokenError", "Encoded", "Outcome"]


class ChatFormat:
    """`tokenizer` must be a fast one (offsets are needed); its `chat_template` is the one used."""

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise UserError("the tokenizer is not a fast one, and only those give offsets; add a tokenizer.json")
        if not tokenizer.chat_template:
            raise UserError(
                "the tokenizer has no chat template; set `template: zephyr` for this model in the recipe, or say "
                "--template zephyr"
            )
        self.tokenizer = tokenizer
        self._renderer = Renderer(tokenizer)
        self._opening = Opening(tokenizer)
        probe = self.encode((Message(role="user", content="a"), Message(role="assistant", content="b")))
        last = max(index for index, scored in enumerate(probe.scored) if scored)
        self.end_ids = frozenset({probe.ids[last], tokenizer.eos_token_id} - {None})
        """Tokens that end an assistant turn."""

    @classmethod
    def load(cls, source: ModelSource) -> ChatFormat:
        try:
            # Left out, transformers would ask at the terminal whether to run the folder's own code.
            tokenizer = AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise UserError(f"model {source.name}: its tokenizer cannot be read ({brief(error)})") from error
        if source.template is not None:
            tokenizer.chat_template = source.template
        return cls(tokenizer)

    def encode(self, messages: Messages, finished: bool = True, only_last: bool = False) -> Encoded:
        """Ids of a whole dialogue. Scored: every assistant turn's content and end token, or `only_last` of them.

        finished: False leaves the end token of the last turn unscored, for an answer that was cut off.
        Raises ControlTokenError where a message holds one, UserError where the template rejects the dialogue.
        """
        return by_offsets(self.tokenizer, [self._renderer.dialogue(messages, finished, only_last)], self._opening)[0]

    def encode_many(
        self, dialogues: Sequence[Messages], finished: Sequence[bool] | None = None, only_last: bool = False
    ) -> list[Outcome]:
        """What `encode` gives or raises for each dialogue: its errors are returned in the dialogue's place.

        finished: one flag for each dialogue; None means that all are. The more are given at a time, the faster.
        `batches.ways` counts how they were encoded.
        """
        return self.batches.encode(dialogues, [True] * len(dialogues) if finished is None else finished, only_last)

    @cached_property
    def batches(self) -> Batches:
        """The short cuts of `encode_many`, and a count of what they did."""
        return Batches(self._renderer, self.encode, self._opening)

    def text(self, messages: Messages, asking: bool = True) -> str:
        """What the template writes; `asking`: up to where the assistant's next turn begins. Errors as of `encode`."""
        self._renderer.control.refuse(messages)
        return self._renderer.text(messages, generation_prompt=asking)

    def prompt_ids(self, messages: Messages) -> list[int]:
        """Ids up to where the assistant's next turn begins."""
        text = self.text(messages)
        return [*self._opening.ids(text), *self.tokenizer(text, add_special_tokens=False)["input_ids"]]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
