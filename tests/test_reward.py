"""The reward head: parity with plain transformers and TRL, rows from feedback, training, resume, what it leaves."""

from __future__ import annotations

import json
import os
import random
import signal
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from favonius.chat.format import ChatFormat
from favonius.data.checks import Drops
from favonius.errors import FavoniusError, StoppedError, UserError
from favonius.models.load import load
from favonius.models.reward_head import FILE, RewardHead, load_reward_head, save_reward_head
from favonius.progress import Progress
from favonius.report.plots import charts
from favonius.run import Context, Inputs, ModelSource
from favonius.train import stage
from favonius.train.config import TrainConfig
from favonius.train.distributed import World
from favonius.train.loop import Launched, Trainer
from favonius.train.measures import Totals, summarise
from favonius.train.objectives import Reward
from favonius.train.rated import reward_loss
from favonius.train.rows import Encoder, Row, rated_rows, read_training_rows, standardised
from favonius.trees.pack import pack, plan
from favonius.trees.reward import rewarded, rewards
from favonius.trees.tree import TokenSequence, Tree
from favonius.types import Feedback, Message, RatedText
from tests.ranks import run_ranks
from tests.reference import InDouble, draw, error, gradients, in_small_pieces, twins, unequal
from tests.tiny import save_tiny, tiny_model, tiny_tokenizer

FORM = ChatFormat(tiny_tokenizer())
WIDTH = 32


def branch(prompt: list[int], answer: list[int]) -> TokenSequence:
    return rewarded([*prompt, *answer], [False] * len(prompt) + [True] * len(answer))


def grove() -> tuple[list[Tree], list[tuple[list[int], list[int]]]]:
    """Trees, and prompt and answer of each of their sequences: one answer, several, equal ones, one that another
    goes on from, single tokens, and answers that open alike."""
    rng = random.Random(3)
    prompt, opening = draw(rng, 9), draw(rng, 4)
    answers = [
        [draw(rng, 12)],
        [[*opening, *draw(rng, 5)], [*opening, *draw(rng, 2)], opening, draw(rng, 1)],
        [opening, opening, draw(rng, 20)],
    ]
    pairs = [[(prompt, answer) for answer in group] for group in answers]
    trees = [Tree.of(*(branch(*pair) for pair in group)) for group in pairs]
    return trees, [pair for group in pairs for pair in group]


def random_head(dtype: torch.dtype) -> RewardHead:
    head = RewardHead(WIDTH).to(dtype)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=dtype))
    return head


def plain_reward(model: PreTrainedModel, head: RewardHead, prompt: list[int], answer: list[int]) -> Tensor:
    """From transformers' own forward of one sequence alone."""
    ids = torch.tensor([[*prompt, *answer]])
    states_TD = model.get_decoder()(input_ids=ids).last_hidden_state[0]
    return states_TD[len(prompt) :].mean(0) @ head.weight + head.bias[0]


def both_gradients(model: PreTrainedModel, head: RewardHead, value: Tensor) -> dict[str, Tensor]:
    model.reward_head = head
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lm_head" not in name)
    found = gradients(model, value)
    del model.reward_head
    return found


@pytest.mark.parametrize("family", ["llama", "gemma3"])
@pytest.mark.parametrize("budget", [1, 1000])
def test_rewards_and_gradients_are_those_of_each_answer_alone(family: str, budget: int) -> None:
    with InDouble():
        model, reference = twins(family, torch.float64)
        for each in (model, reference):
            for name, parameter in each.named_parameters():
                parameter.requires_grad_("lm_head" not in name)
        heads = random_head(torch.float64), random_head(torch.float64)
        trees, pairs = grove()
        with in_small_pieces():
            packs = [pack([trees[index] for index in members]) for members in plan(trees, budget)]
            ours_S = torch.cat([rewards(model, heads[0], batch) for batch in packs])
            order = [index for members in plan(trees, budget) for index in members]
            starts = [sum(len(tree.sequences) for tree in trees[:index]) for index in range(len(trees))]
            own = [starts[index] + place for index in order for place in range(len(trees[index].sequences))]
            theirs_S = torch.stack([plain_reward(reference, heads[1], *pairs[index]) for index in own])
            assert error(ours_S, theirs_S) <= 1e-10
            slopes_S = torch.linspace(-1, 2, len(own), dtype=torch.float64)
            ours = both_gradients(model, heads[0], ours_S @ slopes_S)
            theirs = both_gradients(reference, heads[1], theirs_S @ slopes_S)
        assert "reward_head.weight" in ours
        assert not unequal(ours, theirs, 1e-10)


def test_a_rewarded_sequence_marks_the_token_after_each_state_that_counts() -> None:
    ids, answer = [7, 8, 20, 21, 1, 9], [False, False, True, True, True, False]
    assert rewarded(ids, answer) == TokenSequence((7, 8, 20, 21, 1, 1), (*[False] * 3, *[True] * 3))
    with pytest.raises(ValueError):
        rewarded([1, 2], [False, False])


def scored_row(*scores: float, lengths: tuple[int, ...] | None = None) -> Row:
    sizes = lengths or tuple(range(1, len(scores) + 1))
    sequences = [branch([5, 6], [10 + place] * size) for place, size in enumerate(sizes)]
    return Row("r", "train", Tree.of(*sequences), (True,) * len(scores), scores=scores)


def softplus(value: float) -> float:
    return float(torch.nn.functional.softplus(torch.tensor(value, dtype=torch.float64)))


def test_bradley_terry_by_hand() -> None:
    """Prompt one: 3 > 1 = 1, two pairs; prompt two: 0 < 2, one pair. Each prompt counts the same."""
    rows = [scored_row(1.0, 3.0, 1.0, lengths=(4, 2, 2)), scored_row(0.0, 2.0)]
    rewards_S = torch.tensor([0.5, 2.0, -1.0, 0.25, 0.25], dtype=torch.float64, requires_grad=True)
    totals = Totals.of(rows)
    part = reward_loss(Reward(), rows, rewards_S, totals)
    expected = ((softplus(-1.5) + softplus(-3.0)) / 2 + softplus(0.0)) / 2
    assert float(part.value.detach()) == pytest.approx(expected, rel=1e-12)
    part.value.backward()
    sigma = torch.sigmoid(torch.tensor([-1.5, -3.0, 0.0], dtype=torch.float64)) / torch.tensor([4, 4, 2])
    hand = [sigma[0], -sigma[0] - sigma[1], sigma[1], sigma[2], -sigma[2]]
    torch.testing.assert_close(rewards_S.grad, torch.stack(hand))
    numbers = summarise(Reward(), {name: float(value) for name, value in part.sums.items()}, totals)
    assert numbers["loss"] == pytest.approx(expected)
    assert numbers["accuracy"] == pytest.approx(2.5 / 3)  # a tie counts half
    assert numbers["margin"] == pytest.approx(4.5 / 3)
    assert numbers["longer_better"] == pytest.approx((0 + 0.5 + 1) / 3)
    assert numbers["longer_preferred"] == pytest.approx((0 + 0.5 + 0.5) / 3)
    assert numbers["reward_mean"] == pytest.approx(0.4)
    assert numbers["reward_spread"] == pytest.approx(float(rewards_S.detach().std(correction=0)))


def test_regression_by_hand_and_over_packs() -> None:
    rows = [scored_row(1.0, -1.0), scored_row(0.5, 0.0, 2.0)]
    rewards_S = torch.tensor([0.0, -1.0, 1.5, 0.0, 0.0])
    totals = Totals.of(rows)
    objective = Reward(loss="regression")
    expected = ((1 + 0) / 2 + (1 + 0 + 4) / 3) / 2
    assert float(reward_loss(objective, rows, rewards_S, totals).value) == pytest.approx(expected)
    parts = [
        reward_loss(objective, [rows[0]], rewards_S[:2], totals),
        reward_loss(objective, [rows[1]], rewards_S[2:], totals),
    ]
    assert float(parts[0].value + parts[1].value) == pytest.approx(expected)


def test_bradley_terry_is_that_of_trls_reward_trainer() -> None:
    """Its own compute_loss, told of the same rewards: of prompts with two answers each, the mean over pairs."""
    trl = pytest.importorskip("trl")
    rows = [scored_row(1.0, 0.0), scored_row(0.0, 1.0), scored_row(2.0, 1.5)]
    rewards_S = torch.tensor([0.5, -1.0, 2.0, 0.25, -0.75, 0.125], dtype=torch.float64)
    better, worse = rewards_S[[0, 3, 4]], rewards_S[[1, 2, 5]]
    told = SimpleNamespace(logits=torch.cat([better, worse])[:, None])
    own = SimpleNamespace(
        model=SimpleNamespace(training=False), args=SimpleNamespace(center_rewards_coefficient=None),
        accelerator=SimpleNamespace(gather=lambda value: value, gather_for_metrics=lambda value: value),
        _total_train_tokens=0, _metrics={"eval": defaultdict(list)},
    )  # fmt: skip
    theirs = trl.RewardTrainer.compute_loss(own, lambda **inputs: told, {})
    ours = reward_loss(Reward(), rows, rewards_S, Totals.of(rows))
    assert float(ours.value) == pytest.approx(float(theirs), rel=1e-12)
    assert float(ours.sums["accuracy"]) / 3 == pytest.approx(own._metrics["eval"]["accuracy"][0])
    assert float(ours.sums["margin"]) / 3 == pytest.approx(own._metrics["eval"]["margin"][0])


def case(number: int, *answers: tuple[str, float | None], split: str = "train", **fields: Any) -> Feedback:
    completions = tuple(RatedText(source=f"m{n}", text=text, overall=score) for n, (text, score) in enumerate(answers))
    prompt = (Message(role="user", content=f"a question about {number}?"),)
    return Feedback.model_validate(
        {"id": f"f{number}", "split": split, "prompt": prompt, "completions": completions, **fields}
    )


def rows_of(cases: list[Feedback], drops: Drops, objective: Reward | None = None, length: int = 60) -> list[Row]:
    return rated_rows(Encoder(FORM, length), cases, objective or Reward(), 0, drops)


def test_rows_from_feedback() -> None:
    drops = Drops()
    cases = [
        case(0, ("the fox", 3.0), ("the weather", 1.0), ("", 5.0), ("another", None), ("the fox " * 60, 9.0)),
        case(1, ("the fox", 3.0), ("the weather", 3.0)),
        case(2, ("the fox", 3.0), ("another", None)),
        case(3, ("the fox", 1.0), ("the weather", 5.0), ("a question", 1.0), split="test"),
    ]
    rows = rows_of(cases, drops)
    assert [(row.id, row.split, row.scores) for row in rows] == [
        ("f0", "train", (3.0, 1.0)), ("f3", "test", (1.0, 5.0, 1.0))
    ]  # fmt: skip
    assert drops.counts == {
        "one of a prompt's answers: empty answer": 1,
        "one of a prompt's answers: no score": 2,
        "one of a prompt's answers: longer than max_length (60 tokens)": 1,
        "every answer has the same score": 1,
        "fewer than two rated answers": 1,
    }
    assert [tuple(pair) for pair in rows[1].ranked if pair.worse == 0] == [
        (1, 0, len(rows[1].tree.sequences[1].ids) - len(rows[1].tree.sequences[0].ids))
    ]
    assert [row.scores for row in standardised(rows)] == [(1.0, -1.0), (-1.0, 3.0, -1.0)]  # of the train row: 2 ± 1


def test_the_last_state_is_the_end_token_s_where_the_answer_ended() -> None:
    answers = (RatedText(source="a", text="the fox", overall=1.0),
               RatedText(source="b", text="the fox", overall=0.0, finished=False))  # fmt: skip
    (row,) = rows_of([case(0, completions=answers)], Drops())
    ended, cut = row.tree.sequences
    assert ended.ids[-2] in FORM.end_ids and cut.ids[-2] not in FORM.end_ids


def test_aspects_and_draws() -> None:
    scores = [{"honesty": float(n), "helpfulness": 2.0, "truthfulness": None} for n in range(9)]
    answers = tuple(RatedText(source="m", text=f"the fox {n}", scores=scores[n]) for n in range(9))
    cases = [case(number, completions=answers) for number in range(20)]
    drawn = rows_of(cases, Drops(), Reward(score="aspects", per_prompt=3))
    assert all(len(row.scores) == 3 and set(row.scores) < {(n + 2) / 2 for n in range(9)} for row in drawn)
    assert len({row.scores for row in drawn}) > 5  # each prompt its own draw
    again = rows_of([cases[7]], Drops(), Reward(score="aspects", per_prompt=3))
    assert again == [drawn[7]]  # whatever rows are beside it
    assert rows_of(cases, drops := Drops()) == [] and drops.counts["one of a prompt's answers: no score"] == 180


def planted(count: int) -> list[Feedback]:
    """A judge that likes foxes, and the more the better; lengths say nothing."""
    rng = random.Random(0)
    cases = []
    for number in range(count):
        words = [[*["fox"] * foxes, *["weather"] * (4 - foxes)] for foxes in (0, 1, 2, 3, 4)]
        answers = [(" ".join(rng.sample(bag, 4)), float(bag.count("fox"))) for bag in rng.sample(words, 4)]
        cases.append(case(number, *answers, split="test" if number % 4 == 3 else "train"))
    return cases


def settings(objective: Reward | None = None, **changes: Any) -> TrainConfig:
    fixed = {
        "model": "base", "rows": "rows", "objective": objective or Reward(), "epochs": 2, "batch_size": 4,
        "learning_rate": 1e-3, "pack_tokens": 200, "checkpoint_every": 1, "precision": "fp32", "max_length": 200,
    }  # fmt: skip
    return TrainConfig.model_validate({**fixed, **changes})


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAVONIUS_CACHE", str(tmp_path / "cache"))
    save_tiny(tmp_path / "base")
    return tmp_path


def train(world: Path, out: str, config: TrainConfig, cases: list[Feedback]) -> dict[str, Tensor]:
    """Weights and head, by their names in their files."""
    write(world, cases)
    as_rank(World.alone(), world, out, config)
    return trained(world, out)


def write(world: Path, cases: list[Feedback]) -> None:
    (world / "rows").mkdir(exist_ok=True)
    (world / "rows" / "feedback.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in cases))


def trained(world: Path, out: str) -> dict[str, Tensor]:
    folder = world / out / "model"
    return {**load_file(folder / "model.safetensors"), **load_file(folder / FILE)}


def as_rank(world: World, folder: Path, out: str, config: TrainConfig, stop: int | None = None) -> None:
    """`stop`: asks to stop in this step."""
    step = Trainer.step

    def asks(trainer: Trainer, number: int) -> Launched:
        if number == stop:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(trainer, number)

    Trainer.step = asks  # type: ignore[method-assign]
    inputs = Inputs({"rows": folder / "rows"}, {"base": ModelSource("base", folder / "base", "digest of base")}, {})
    (folder / out).mkdir(exist_ok=True)
    try:
        stage.train(config, inputs, folder / out, Context(folder, Progress()), world)
    except StoppedError:
        assert stop is not None
    finally:
        Trainer.step = step  # type: ignore[method-assign]


def lines(world: Path, out: str, split: str) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (world / out / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["split"] == split]


@pytest.mark.parametrize("loss", ["bradley_terry", "regression"])
def test_a_planted_preference_is_learned(world: Path, loss: str) -> None:
    objective = Reward.model_validate({"loss": loss})
    train(world, "judge", settings(objective, epochs=12, learning_rate=3e-3), planted(24))
    before, after = lines(world, "judge", "test")
    assert before["accuracy"] == 0.5 and before["reward_spread"] == 0.0
    assert after["accuracy"] >= 0.9 and after["margin"] > 0
    assert after["longer_better"] == pytest.approx(after["longer_better"]) and 0.0 <= after["longer_preferred"] <= 1.0
    if loss == "bradley_terry":
        assert before["loss"] == pytest.approx(0.6931, abs=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("loss", ["bradley_terry", "regression"])
def test_a_training_that_was_stopped_ends_with_the_same_bits(world: Path, precision: str, loss: str) -> None:
    config = settings(Reward.model_validate({"loss": loss}), precision=precision, evaluate_every=2)
    whole = train(world, "whole", config, planted(12))
    as_rank(World.alone(), world, "again", config, stop=3)
    assert not (world / "again" / "model").exists()
    as_rank(World.alone(), world, "again", config)
    again = trained(world, "again")
    assert whole.keys() == again.keys() and {"weight", "bias"} <= whole.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())
    assert [line["loss"] for line in lines(world, "again", "test")] == [
        line["loss"] for line in lines(world, "whole", "test")
    ]


@pytest.mark.parametrize("loss", ["bradley_terry", "regression"])
def test_two_ranks_learn_as_one_and_go_on_as_one(world: Path, loss: str) -> None:
    config = settings(Reward.model_validate({"loss": loss}), learning_rate=1e-4, pack_tokens=64, evaluate_every=2)
    one = train(world, "one", config, planted(12))
    run_ranks(as_rank, world, "two", config, 3)
    run_ranks(as_rank, world, "two", config)
    for mine, other in zip(lines(world, "two", "train"), lines(world, "one", "train"), strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert mine["margin"] == pytest.approx(other["margin"], rel=1e-4, abs=1e-5)
    for name, tensor in trained(world, "two").items():
        torch.testing.assert_close(tensor, one[name], rtol=2e-3, atol=1e-4)


def test_packing_changes_nothing(world: Path) -> None:
    wide = train(world, "wide", settings(pack_tokens=100_000), planted(12))
    narrow = train(world, "narrow", settings(pack_tokens=64), planted(12))
    for name, tensor in wide.items():
        torch.testing.assert_close(narrow[name], tensor, rtol=1e-3, atol=2e-4)


def test_an_adapter_and_its_head_are_trained(world: Path) -> None:
    config = settings(adapter={"rank": 2}, learning_rate=1e-2, epochs=10)
    whole = train(world, "judge", config, planted(16))
    assert lines(world, "judge", "test")[-1]["accuracy"] > 0.8
    adapter = load_file(world / "judge" / "adapter" / "adapter_model.safetensors")
    assert adapter and not any("reward" in name for name in adapter)
    assert not any("reward" in name for name in whole)


def test_what_it_leaves_is_a_model_like_any_other(world: Path) -> None:
    whole = train(world, "judge", settings(), planted(12))
    before = tiny_model("llama")
    assert whole.keys() - {"weight", "bias"} == set(before.state_dict())
    # No reward goes through the output head, so it stays; what is below it does not.
    assert torch.equal(whole["lm_head.weight"], before.lm_head.weight)
    assert not torch.equal(whole["model.norm.weight"], before.model.norm.weight)
    load(ModelSource("judge", world / "judge" / "model", ""))
    stats = json.loads((world / "judge" / "stats.json").read_text())
    assert stats["reward_spread"] > 0 and stats["kept"] == 12


def test_its_curves_are_drawn(world: Path) -> None:
    train(world, "judge", settings(), planted(12))
    step = SimpleNamespace(metrics=[*lines(world, "judge", "train"), *lines(world, "judge", "test")])
    assert [chart.title for chart in charts(step, "judge")][:4] == ["Loss", "Accuracy", "Longer answers", "Margin"]  # type: ignore[arg-type]


def test_rewards_of_train_answers_are_standardised(world: Path) -> None:
    train(world, "judge", settings(), planted(12))
    source = ModelSource("judge", world / "judge" / "model", "")
    rows = read_training_rows(settings(), world / "rows", FORM, Drops())
    model, head = load(source, "fp32"), load_reward_head(source)
    with torch.no_grad():
        values_S = rewards(model, head, pack([row.tree for row in rows if row.split == "train"]))
    assert float(values_S.mean()) == pytest.approx(0.0, abs=1e-4)
    assert float(values_S.std(correction=0)) == pytest.approx(1.0, abs=1e-4)


def test_a_head_that_learned_nothing_and_a_damaged_one_are_sentences(world: Path) -> None:
    with pytest.raises(UserError, match="the head has learned nothing; raise learning_rate or epochs"):
        train(world, "judge", settings(epochs=1, batch_size=16), planted(4))  # one step, which the warm-up gives rate 0
    source = ModelSource("plain", world / "base", "")
    with pytest.raises(UserError, match=r"model plain has no reward head .* objective is \{kind: reward\}"):
        load_reward_head(source)
    save_reward_head(random_head(torch.float32), world / "base")
    (world / "base" / FILE).write_bytes((world / "base" / FILE).read_bytes()[:-20])
    with pytest.raises(FavoniusError, match="is damaged"):
        load_reward_head(source)


def test_a_step_without_feedback_is_named(world: Path) -> None:
    (world / "rows").mkdir()
    with pytest.raises(UserError, match=r"step rows makes no feedback\.jsonl, which objective reward learns from"):
        read_training_rows(settings(), world / "rows", FORM, Drops())
