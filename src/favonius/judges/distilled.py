"""The distilled judge: the reward that a trained head gives an answer. One forward, no request."""

from __future__ import annotations

from collections.abc import Sequence

from favonius.chat.encoded import Encoded
from favonius.chat.format import ChatFormat
from favonius.judges.answers import readable
from favonius.judges.config import DistilledJudge
from favonius.judges.judge import FIRST, Judgement, Showing
from favonius.models.load import load
from favonius.models.reward_head import load_reward_head
from favonius.run import Context, Inputs
from favonius.trees.fused import forward_only
from favonius.trees.pack import pack, plan
from favonius.trees.reward import rewarded, rewards
from favonius.trees.tree import TokenSequence, Tree
from favonius.types import Feedback, JudgedBy

PACK_TOKENS = 4096


class Distilled:
    """A loaded judge. Answers to one prompt are branches of one tree, so the prompt runs once. It sees one answer at a
    time and draws nothing: every showing gives the same, and what it has judged it knows.

    Scores are in units of the spread of its own train answers' rewards, 0 being their mean. UserError where the model
    has no reward head.
    """

    def __init__(self, config: DistilledJudge, inputs: Inputs, context: Context) -> None:
        source = inputs.model(config.model)
        self.mark = JudgedBy(name=f"reward of {source.name}", kind=config.kind)
        self.tokens = 0
        self._max_length = config.max_length
        self._progress = context.progress
        head = load_reward_head(source)  # before the weights: where it is missing, that is soon said
        self._form = ChatFormat.load(source)
        self._model = load(source)
        self._head = head.to(self._model.device)
        self._known: dict[Tree, list[float]] = {}

    def judge(self, cases: Sequence[Feedback], showing: Showing = FIRST, label: str = "  judging") -> list[Judgement]:
        found = [readable(case, self._form, self._max_length, _marked) for case in cases]
        new = [case.tree for case in found if case.tree is not None and case.tree not in self._known]
        self._read(list(dict.fromkeys(new)), label)
        return [case.judgement([] if case.tree is None else self._known[case.tree]) for case in found]

    def _read(self, trees: Sequence[Tree], label: str) -> None:
        with self._progress.bar(label, len(trees), "prompts") as bar:
            for members in plan(trees, PACK_TOKENS):
                chosen = [trees[index] for index in members]
                batch = pack(chosen)
                with forward_only(self._model):
                    values = iter(rewards(self._model, self._head, batch).tolist())
                self._known |= {tree: [next(values) for _ in tree.sequences] for tree in chosen}
                self.tokens += batch.tokens
                bar.advance(len(chosen), batch.tokens)


def _marked(encoded: Encoded) -> TokenSequence:
    return rewarded(encoded.ids, encoded.scored)
