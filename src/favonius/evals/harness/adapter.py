"""A model as lm-eval wants it, over prompt trees: the log-likelihoods that its own transformers backend gives, several
times as fast. A context runs once for all its continuations, and only scored tokens meet the output head.

Imported only where lm-eval is installed (extra `harness`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, has_bos_prefix, normalize_gen_kwargs, resolve_max_length
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from transformers import PreTrainedModel

from favonius.errors import UserError
from favonius.evals.harness.writing import Start, write_on
from favonius.progress import Progress
from favonius.trees.continuations import Continuation, Read, read_continuations
from favonius.types import Sampling

PACK_TOKENS = 4096
SLOTS = 8
MAX_NEW_TOKENS = 256
"""Of an answer whose task sets no limit, as in lm-eval."""
TokenRequest = tuple[tuple[str, str] | None, list[int], list[int]]
"""What lm-eval's base class hands on: the texts, for its cache, and the ids of context and continuation."""


class FavoniusLM(TemplateLM):  # type: ignore[misc]
    """`model` has favonius attention (`models.load`). Texts become ids by lm-eval's own rules, which its base class
    holds: spaces move from a context's end to its continuation, an empty context is the begin token, and what is longer
    than `max_length` loses its beginning. `truncated` counts those. Where theirs fails, with a context of spaces alone
    and an empty one that is to be carried on, the begin token stands too.

    add_bos_token, prefix_token_id and max_length mean what they mean to lm-eval's transformers backend.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        *,
        max_length: int | None = None,
        add_bos_token: bool | None = None,
        prefix_token_id: int | None = None,
        progress: Progress | None = None,
        label: str = "  lm-eval",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.max_length: int = max_length or resolve_max_length(model.config, tokenizer)
        self.add_bos_token = add_bos_token
        self.truncated = 0
        self.tokens = 0
        """Run so far."""
        self._prefix = prefix_token_id
        self._progress, self._label, self._seed = progress or Progress(), label, seed
        self._ids = lru_cache(maxsize=16)(self._encode)  # a context comes again with each of its continuations
        self._device = model.device

    @property
    def eot_token_id(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        if self._prefix is not None:
            return self._prefix
        begin = self.tokenizer.bos_token_id
        return self.eot_token_id if begin is None else int(begin)

    @property
    def tokenizer_name(self) -> str:
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        return list(self._ids(string, add_special_tokens))

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Each text in windows of `max_length`, every token once."""
        texts = [request.args[0] for request in requests]
        windows = [[make_disjoint_window(window) for window in self._windows(text)] for text in texts]
        read = iter(self._read([(None, *window) for own in windows for window in own]))
        sums = [sum(next(read).logprob for _ in own) for own in windows]
        for text, value in zip(texts, sums, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), value)
        return sums

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """UserError where a task draws in a way that the decoder does not know."""
        starts = [self._start(index, *request.args) for index, request in enumerate(requests)]

        def keep(index: int, text: str) -> None:
            self.cache_hook.add_partial("generate_until", requests[index].args, text)
            bar.advance()

        with self._progress.bar(f"{self._label}, writing", len(starts), "answers") as bar:
            return write_on(self.model, self.tokenizer, starts, SLOTS, keep)

    def _loglikelihood_tokens(
        self, requests: Sequence[TokenRequest], disable_tqdm: bool = False, **kwargs: Any
    ) -> list[tuple[float, bool]]:
        return [(read.logprob, read.greedy) for read in self._read(requests)]

    def _read(self, requests: Sequence[TokenRequest]) -> list[Read]:
        known: dict[tuple[int, ...], tuple[int, ...]] = {}
        asked = []
        for texts, context, own in requests:
            continuation = self._continuation(texts, context or [self.prefix_token_id], own)
            shared = known.setdefault(continuation.context, continuation.context)  # in memory once
            asked.append(Continuation(shared, continuation.own))

        def done(places: Sequence[int], read: Sequence[Read], tokens: int) -> None:
            self.tokens += tokens
            bar.advance(len(places), tokens)
            for place, one in zip(places, read, strict=True):
                if (texts := requests[place][0]) is not None:
                    self.cache_hook.add_partial("loglikelihood", texts, (one.logprob, one.greedy))

        with self._progress.bar(f"{self._label}, reading", len(asked), "continuations") as bar:
            return read_continuations(self.model, asked, PACK_TOKENS, done)

    def _continuation(self, texts: tuple[str, str] | None, context: list[int], own: list[int]) -> Continuation:
        """Its last `max_length` tokens and the one that they predict."""
        if not own or len(own) > self.max_length:
            shown = "" if texts is None else f" {texts[1]!r}"
            raise UserError(
                f"the continuation{shown} has {len(own)} tokens of its own after its context, and from 1 to "
                f"{self.max_length} can be read; change the task's choices"
            )
        self.truncated += len(context) + len(own) > self.max_length + 1
        kept = self.max_length + 1 - len(own)
        return Continuation(tuple(context[-kept:]), tuple(own))

    def _start(self, index: int, context: str, options: dict[str, Any]) -> Start:
        known = normalize_gen_kwargs(options, MAX_NEW_TOKENS)
        until = handle_stop_sequences(known.pop("until", None), self.tokenizer.decode(self.eot_token_id))
        most = known.pop("max_gen_toks")
        temperature = known.pop("temperature", 1.0 if known.pop("do_sample") else 0.0)
        top_p = known.pop("top_p", 1.0)
        if known:
            raise UserError(
                f"the task draws with {', '.join(sorted(known))}, which is not supported; leave it out of the task's "
                "generation_kwargs"
            )
        if most >= self.max_length:
            raise UserError(
                f"the task wants answers of up to {most} tokens, and the model reads {self.max_length} in all; "
                "lower max_gen_toks"
            )
        ids = self.tok_encode(context) or [self.prefix_token_id]
        self.truncated += len(ids) > self.max_length - most
        sampling = Sampling(temperature=temperature, top_p=top_p, max_tokens=most, stop=tuple(filter(None, until)))
        return Start(tuple(ids[-(self.max_length - most) :]), sampling, f"{self._seed} {index} {context}")

    def _windows(self, text: str) -> list[tuple[list[int], list[int]]]:
        return list(get_rolling_token_windows(self.tok_encode(text), self.prefix_token_id, self.max_length, 1))

    def _encode(self, text: str, special: bool | None) -> tuple[int, ...]:
        if special is None:
            special = self.add_bos_token
            if has_bos_prefix(text, self.tokenizer.decode(self.prefix_token_id)):
                special = False
        options = {} if special is None else {"add_special_tokens": special}
        return tuple(self.tokenizer.encode(text, **options))
