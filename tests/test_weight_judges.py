"""Judges that read and are not asked: likelihood, contrast, distilled."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from favonius.chat.format import ChatFormat
from favonius.errors import UserError
from favonius.judges import distilled
from favonius.judges.config import ContrastJudge, DistilledJudge, LikelihoodJudge
from favonius.judges.contrast import Contrast
from favonius.judges.distilled import Distilled
from favonius.judges.judge import Failure, Judge, Judgement, Score, Showing
from favonius.judges.likelihood import Likelihood
from favonius.models.reward_head import RewardHead, save_reward_head
from favonius.progress import Progress
from favonius.run import Context, Inputs, ModelRef, ModelSource, ServedModel
from favonius.types import Feedback, JudgedBy, Message, RatedText
from tests.tiny import save_tiny, tiny_model

TEXTS = [("the weather", True), ("the weather", False), ("another fox", True), ("", True), ("the fox " * 60, True)]
REFUSED = (Failure("empty answer"), Failure("longer than the judge's max_length (60 tokens)"))
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}"
)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAVONIUS_CACHE", str(tmp_path / "cache"))
    for seed, name in enumerate(("aligned", "base", "other")):
        save_tiny(tmp_path / name, "gemma3" if name != "other" else "llama", seed=seed)
    return tmp_path


def inputs(world: Path, **templates: str) -> Inputs:
    models = {
        name: ModelSource(name, world / name, f"digest of {name}", template=templates.get(name))
        for name in ("aligned", "base", "other")
    }
    return Inputs({}, {**models, "served": ServedModel("served", "served", "digest")}, {})


def context(world: Path) -> Context:
    return Context(world, Progress())


def case(name: str = "f", texts: list[tuple[str, bool]] = TEXTS, system: str | None = None) -> Feedback:
    prompt = (Message(role="user", content=f"a question of {name}?"),)
    if system is not None:
        prompt = (Message(role="system", content=system), *prompt)
    completions = tuple(RatedText(source="s", text=text, finished=finished, overall=3.0) for text, finished in texts)
    return Feedback(id=name, split="test", prompt=prompt, completions=completions)


def plain(world: Path, name: str, answer: RatedText, prompt: tuple[Message, ...]) -> list[float]:
    """Log-probs of an answer's scored tokens, from transformers alone."""
    seed = ("aligned", "base", "other").index(name)
    model = tiny_model("gemma3" if name != "other" else "llama", attention="sdpa", seed=seed)
    form = ChatFormat.load(inputs(world).model(name))
    encoded = form.encode(
        (*prompt, Message(role="assistant", content=answer.text)), finished=answer.finished, only_last=True
    )
    logps = torch.log_softmax(model(input_ids=torch.tensor([encoded.ids])).logits[0, :-1].float(), -1)
    return logps.gather(1, torch.tensor(encoded.ids[1:])[:, None])[:, 0][torch.tensor(encoded.scored[1:])].tolist()


def values(judgement: Judgement) -> list[float]:
    return [verdict.value for verdict in judgement.verdicts if isinstance(verdict, Score)]


def refused(judgement: Judgement) -> tuple[Failure, ...]:
    return tuple(verdict for verdict in judgement.verdicts if isinstance(verdict, Failure))


def open_all(world: Path) -> list[Judge]:
    save_reward_head(head(), world / "aligned")
    aligned, base = ModelRef("aligned"), ModelRef("base")
    return [
        Likelihood(LikelihoodJudge(model=aligned, max_length=60), inputs(world), context(world)),
        Contrast(ContrastJudge(model=aligned, base=base, max_length=60), inputs(world), context(world)),
        Distilled(DistilledJudge(model=aligned, max_length=60), inputs(world), context(world)),
    ]


def head() -> RewardHead:
    made = RewardHead(32)
    with torch.no_grad():
        made.weight.copy_(torch.linspace(-1, 1, 32))
        made.bias.fill_(0.5)
    return made


def test_all_judge_cases_in_order_and_are_blind_to_the_showing(world: Path) -> None:
    cases = [case("one"), case("two", [("", True)]), case("three", TEXTS[:1]), case("one")]
    for judge in open_all(world):
        found = judge.judge(cases)
        assert [len(judgement.verdicts) for judgement in found] == [5, 1, 1, 5]
        assert [verdict for verdict in found[0].verdicts if isinstance(verdict, Failure)] == list(REFUSED)
        assert isinstance(found[0].verdicts[3], Failure) and refused(found[1]) == REFUSED[:1]
        assert found[0] == found[3] and len(set(values(found[0]))) == 3
        tokens = judge.tokens
        assert tokens > 0
        # Known already: nothing is read but what the store of log-probs looks at again to be sure of itself.
        assert judge.judge(cases, Showing(reversed=True)) == judge.judge(cases, Showing(sample=1)) == found
        if judge.mark.kind == "distilled":
            assert judge.tokens == tokens
        assert judge.judge([]) == []


def test_likelihood_is_the_mean_log_prob_of_content_and_end(world: Path) -> None:
    judge, *_ = open_all(world)
    (found,) = judge.judge([case()])
    assert judge.mark == JudgedBy(name="likelihood of aligned", kind="likelihood")
    for answer, value in zip(case().completions, values(found), strict=False):
        logps = plain(world, "aligned", answer, case().prompt)
        assert value == pytest.approx(sum(logps) / len(logps), rel=2e-2)


def test_contrast_is_the_difference_of_both_per_token_of_the_first(world: Path) -> None:
    _, judge, _ = open_all(world)
    (found,) = judge.judge([case()])
    assert judge.mark == JudgedBy(name="aligned against base", kind="contrast")
    for answer, value in zip(case().completions, values(found), strict=False):
        ours, theirs = (plain(world, name, answer, case().prompt) for name in ("aligned", "base"))
        assert value == pytest.approx((sum(ours) - sum(theirs)) / len(ours), abs=3e-2)
    same = Contrast(ContrastJudge(model=ModelRef("base"), base=ModelRef("base")), inputs(world), context(world))
    assert values(same.judge([case()])[0]) == [0.0] * 4


def test_contrast_renders_each_model_s_own_template(world: Path) -> None:
    """Where only the base's template refuses a prompt, its answers have no score, and the cause is said."""
    config = ContrastJudge(model=ModelRef("aligned"), base=ModelRef("other"), max_length=60)
    judge = Contrast(config, inputs(world, other=NO_SYSTEM), context(world))
    spoken, silent = judge.judge([case("f", TEXTS[:2]), case("g", TEXTS[:2], system="be brief")])
    assert len(values(spoken)) == 2
    assert len(refused(silent)) == 2 and "no system" in refused(silent)[0].cause


def test_distilled_is_the_head_on_the_states_of_each_answer_alone(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distilled, "PACK_TOKENS", 20)  # every case a pack of its own
    *_, judge = open_all(world)
    cases = [case("f"), case("g", TEXTS[:3])]
    assert judge.mark == JudgedBy(name="reward of aligned", kind="distilled")
    model, form = tiny_model("gemma3", attention="sdpa"), ChatFormat.load(inputs(world).model("aligned"))
    for one, found in zip(cases, judge.judge(cases), strict=True):
        for answer, value in zip(one.completions, values(found), strict=False):
            messages = (*one.prompt, Message(role="assistant", content=answer.text))
            encoded = form.encode(messages, finished=answer.finished, only_last=True)
            states_TD = model.get_decoder()(input_ids=torch.tensor([encoded.ids])).last_hidden_state[0]
            state_D = states_TD[torch.tensor(encoded.scored)].mean(0)
            expected = float(state_D.detach() @ torch.linspace(-1, 1, 32)) + 0.5
            assert value == pytest.approx(expected, abs=5e-2)


def test_a_model_without_a_head_or_without_weights_is_named(world: Path) -> None:
    with pytest.raises(UserError, match=r"model base has no reward head .*; name a train step whose objective is"):
        Distilled(DistilledJudge(model=ModelRef("base")), inputs(world), context(world))
    with pytest.raises(UserError, match="model served is served by an API"):
        Distilled(DistilledJudge(model=ModelRef("served")), inputs(world), context(world))
