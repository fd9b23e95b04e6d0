"""What is trained towards. An objective is a frozen config; its loss is a pure function in `train.losses`.

Rows: SFT learns from dialogues; KTO from answers that are each labelled good or bad, or from pairs; Reward from answers
with scores; all others from pairs. In the formulas, w is a pair's chosen answer and l its rejected one, and for the
objectives that train a policy ρ = log π(y|x) - log π_ref(y|x) is summed over the answer's tokens, and |y| counts them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from favonius.types import Noun

Beta = Annotated[float, Field(gt=0.0)]


class SFT(Noun):
    """Mean negative log-prob per scored token of the batch."""

    kind: Literal["sft"] = "sft"
    scored: Literal["assistant", "all"] = "assistant"
    """assistant: its words and the end of each of its turns. all: every token, as Zephyr's own dSFT did."""


class DPO(Noun):
    """Direct preference optimisation, Rafailov et al. 2023 (arXiv 2305.18290, Eq. 7): -log σ(β(ρ_w - ρ_l)).

    Everything but `beta` is off by default, and each option is a published variant; they may be combined, except that
    answers' lengths are handled in one way only.
    """

    kind: Literal["dpo"] = "dpo"
    beta: Beta = 0.1
    """Nats of reward per nat of log-ratio; with `length_normalised` per nat per token, where 2 to 10 is usual."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=0.5)
    """Share of pairs believed to be labelled the wrong way round. Alone this is cDPO (Mitchell 2023, "A note on DPO
    with noisy preferences"), which stops at a margin of log((1-ε)/ε)."""
    robust: bool = False
    """Remove the bias that such labels cause instead: robust DPO, Chowdhury et al. 2024 (arXiv 2403.00409)."""
    length_normalised: bool = False
    """Divide each ρ by |y|: Lambert et al. 2024, Tülu 3 (arXiv 2411.15124)."""
    length_penalty: float = Field(default=0.0, ge=0.0)
    """α in nats of reward per token: R-DPO, Park et al. 2024 (arXiv 2403.19159), which adds α(|w| - |l|) to the
    margin, so that a chosen answer need not win by what its length alone is worth."""
    tail_weight: float = Field(default=1.0, ge=0.0, le=1.0)
    """α of LD-DPO, Liu et al. 2024 (arXiv 2409.06411): weight of the tokens by which one answer of a pair is
    longer than the other. 1 is plain DPO; 0 compares the first min(|w|, |l|) tokens only."""
    drop_penalty: float = Field(default=0.0, ge=0.0)
    """λ of DPO-positive, Pal et al. 2024 (arXiv 2402.13228, Eq. 3; there 5 to 500): subtracts λ·max(0, -ρ_w) inside
    the margin, so that chosen answers may not become less likely than they were."""
    nll_weight: float = Field(default=0.0, ge=0.0)
    """α of DPO + NLL, Pang et al. 2024 (arXiv 2404.19733, Eq. 1; there 1), known as RPO: adds α times the chosen
    answer's mean negative log-prob per token."""

    @model_validator(mode="after")
    def _check(self) -> DPO:
        if self.robust and not self.label_smoothing:
            raise PydanticCustomError("robust", "robust needs label_smoothing above 0, the share of wrong labels")
        lengths = {
            "length_normalised": self.length_normalised,
            "length_penalty": self.length_penalty > 0,
            "tail_weight": self.tail_weight < 1,
        }
        chosen = [name for name, used in lengths.items() if used]
        if len(chosen) > 1:
            raise PydanticCustomError(
                "lengths",
                "{names} each control the answers' lengths; keep one of them",
                {"names": " and ".join(chosen)},
            )
        return self


class IPO(Noun):
    """Identity preference optimisation, Azar et al. 2023 (arXiv 2310.12036, Eq. 17): (ρ_w/|w| - ρ_l/|l| - 1/2β)².

    Log-ratios are averaged over tokens, as the authors' own results were; β is the paper's τ, in nats per token.
    """

    kind: Literal["ipo"] = "ipo"
    beta: Beta = 0.1


class Hinge(Noun):
    """Hinge loss on DPO's margin, max(0, 1 - β(ρ_w - ρ_l)): SLiC (arXiv 2305.10425) with its margin measured against
    the reference, as in Liu et al. 2023, RSO (arXiv 2309.06657)."""

    kind: Literal["hinge"] = "hinge"
    beta: Beta = 0.1


class APOZero(Noun):
    """Anchored preference optimisation, D'Oosterlinck et al. 2024 (arXiv 2408.06266, Eq. 7): 1 - σ(βρ_w) + σ(βρ_l).

    Raises chosen and lowers rejected answers, each against the reference: for pairs whose chosen answer is better than
    the model's own. The 1 is a constant that keeps the loss positive.
    """

    kind: Literal["apo_zero"] = "apo_zero"
    beta: Beta = 0.1


class SimPO(Noun):
    """Simple preference optimisation, Meng et al. 2024 (arXiv 2405.14734, Eq. 6), without a reference:
    -log σ(β·log π(w)/|w| - β·log π(l)/|l| - γ)."""

    kind: Literal["simpo"] = "simpo"
    beta: Beta = 2.0
    """Nats of reward per nat per token."""
    gamma: float = Field(default=1.0, ge=0.0)
    """The margin asked for, in nats of reward: γ itself, not the ratio γ/β that SimPO's scripts are given."""


class ORPO(Noun):
    """Odds ratio preference optimisation, Hong et al. 2024 (arXiv 2403.07691, Eqs. 6 and 7), without a reference.

    The chosen answer's mean negative log-prob per token, plus `odds_weight` times -log σ(log odds(w) - log odds(l)),
    where odds(y) = p/(1-p) and p = exp(log π(y)/|y|). For a base model, which learns to answer and to prefer at once.
    """

    kind: Literal["orpo"] = "orpo"
    odds_weight: float = Field(default=0.1, gt=0.0)
    """The paper's λ."""


class KTO(Noun):
    """Kahneman-Tversky optimisation, Ethayarajh et al. 2024 (arXiv 2402.01306, Eq. 7), on labelled answers.

    λ_D(1 - σ(βρ - z)) for a desirable answer, λ_U(1 - σ(z - βρ)) for an undesirable one. z = β·max(0, KL estimate): the
    mean ρ, over the whole batch, of answers given to another row's prompt; no gradient goes through it.
    """

    kind: Literal["kto"] = "kto"
    beta: Beta = 0.1
    desirable_weight: float = Field(default=1.0, gt=0.0)
    """λ_D. The authors keep (λ_D · desirable answers) / (λ_U · undesirable answers) between 1 and 3/2."""
    undesirable_weight: float = Field(default=1.0, gt=0.0)
    """λ_U."""


class Reward(Noun):
    """A reward head: r(x, y), linear in the mean last state of an answer's tokens, from answers that a judge rated.

    bradley_terry: -log σ(r(x, w) - r(x, l)), the mean over all pairs of a prompt's answers whose scores differ
    (Bradley and Terry 1952; Ouyang et al. 2022, arXiv 2203.02155, Eq. 1). Only the order of scores counts.
    regression: (r(x, y) - s)², the mean over a prompt's answers; s is the score, standardised over all train answers.
    Either way every prompt counts the same, however many answers it has.
    """

    kind: Literal["reward"] = "reward"
    loss: Literal["bradley_terry", "regression"] = "bradley_terry"
    score: Literal["overall", "aspects"] = "overall"
    """Which number of a rated answer counts: the overall score, or the mean of its aspects that have one."""
    per_prompt: int = Field(default=8, ge=2)
    """At most so many answers of a prompt, drawn by seed; they are the branches of one tree."""


Pairwise = DPO | IPO | Hinge | APOZero | SimPO | ORPO
OfLogps = SFT | Pairwise | KTO
"""Objectives of a policy: their losses are made of log-probs."""
Objective = Annotated[SFT | DPO | IPO | Hinge | APOZero | SimPO | ORPO | KTO | Reward, Field(discriminator="kind")]


def needs_reference(objective: Objective) -> bool:
    """Whether the loss looks at log-probs under the model before training."""
    return not isinstance(objective, SFT | SimPO | ORPO | Reward)


def needs_token_reference(objective: Objective) -> bool:
    """Whether it looks at them token by token; sums are enough otherwise."""
    return isinstance(objective, DPO) and objective.tail_weight < 1


def needs_baseline(objective: Objective) -> bool:
    """Whether it looks at mismatched rows of the whole batch first."""
    return isinstance(objective, KTO)
