"""The whole loop on a toy task. Runs that are killed are in test_resume.py."""

from collections.abc import Mapping, Sequence
from itertools import chain, repeat, takewhile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from ratchet.components.errors import StoreError
from ratchet.components.graders.protocol import Grade
from ratchet.components.policy.engines.engine import Completion, SamplingRequest
from ratchet.components.policy.engines.plain import generate
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.log_probs import completion_log_probs
from ratchet.components.policy.packing import Group
from ratchet.components.recipe import Train
from ratchet.components.recipe.presets import PRESETS
from ratchet.components.training.actor import Actor
from ratchet.components.training.events import Committed, Resumed, Samples, StepMetrics
from ratchet.components.training.loop import Trainer
from ratchet.components.training.progress import sampled_rows, training_history
from tests.tiny_models import moments, same, tiny_policy, weights
from tests.training.toy import ROWS, build, digits, everything, finish, policy_weights, setting, short, steps_of

SHARED = {"trunk": "shared", "warmup_steps": 2}
VARIANTS = {
    "grpo": short(),
    "ppo": short(algorithm="ppo", critic={"warmup_steps": 2}),
    "ppo with a critic that sees likelihood": short(
        algorithm="ppo", critic={"sees": "likelihood", "minibatches": 3, "warmup_steps": 2}
    ),
    "ppo with a shared trunk": short(algorithm="ppo", critic=SHARED),
    "ppo with an adaptive coefficient": short(algorithm="ppo", critic={"warmup_steps": 0}, kl_target=0.5, kl_horizon=20),
    "dapo": short(algorithm="dapo"),
    "grpo with an adapter and top-p": short(lora={"rank": 4}, sampling={"top_p": 0.8}, loss={"correction": "truncated"}),
}
Rows = Sequence[Mapping[str, Any]]


def constant(prompts: Sequence[str], completions: Sequence[str], rows: Rows) -> list[Grade]:
    return [Grade(0.35, {}) for _ in completions]


def missing(prompts: Sequence[str], completions: Sequence[str], rows: Rows) -> list[Grade]:
    return [Grade(None, {}) for _ in completions]


def sometimes(prompts: Sequence[str], completions: Sequence[str], rows: Rows) -> list[Grade]:
    """Every third reward is missing."""
    return [Grade(None, {}) if i % 3 == 0 else score for i, score in enumerate(digits(prompts, completions, rows))]


# A resumed run is the run.


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_abandoned_run_ends_bitwise_where_an_uninterrupted_one_does(tmp_path: Path, variant: str) -> None:
    whole = build(setting(tmp_path / "whole", VARIANTS[variant]))
    finish(whole)
    for event in build(setting(tmp_path / "cut", VARIANTS[variant])).run():
        if isinstance(event, StepMetrics) and event.step == 3:
            break  # a step after the checkpoint at 2: it is lost and done again
    rest = build(setting(tmp_path / "cut", VARIANTS[variant]))
    assert [metrics.step for metrics in finish(rest)] == [3, 4, 4]
    assert same(everything(rest), everything(whole))
    assert rest.progress == whole.progress


def test_a_run_with_moments_in_8_bits_resumes_bitwise_and_not_from_another_optimisers(tmp_path: Path) -> None:
    train = short(algorithm="ppo", critic={"warmup_steps": 1}, kl="none", optimizer="adamw_8bit")

    def build_wide(folder: str, identity: str = "8 bits", **values: Any) -> Trainer:
        given = setting(tmp_path / folder, train, identity=identity, **values)
        return Trainer(Actor(tiny_policy(width=64), train, 7), None, given)

    whole, rest = build_wide("whole"), build_wide("cut")
    finish(whole)
    finish(build_wide("cut", interrupted=iter([False, True]).__next__))
    with pytest.raises(StoreError, match="is of run '8 bits', not of '32 bits'"):
        finish(build_wide("cut", identity="32 bits"))
    assert [metrics.step for metrics in finish(rest)] == [3, 4, 4]
    assert same(everything(rest), everything(whole))
    for _, optimizer in whole.modules.values():
        assert any(moment.dtype is torch.uint8 for moment in moments(optimizer))


@pytest.mark.parametrize("variant", ["grpo", "ppo with a shared trunk"])
def test_an_interrupted_run_loses_no_step_and_ends_bitwise_as_well(tmp_path: Path, variant: str) -> None:
    whole = build(setting(tmp_path / "whole", VARIANTS[variant]))
    finish(whole)
    finish(build(setting(tmp_path / "cut", VARIANTS[variant], interrupted=iter([False, False, True]).__next__)))
    rest = build(setting(tmp_path / "cut", VARIANTS[variant]))
    assert [metrics.step for metrics in finish(rest)] == [4, 4]
    assert same(everything(rest), everything(whole))
    assert rest.progress == whole.progress


def test_a_resumed_run_begins_with_what_the_last_commit_covers(tmp_path: Path) -> None:
    """A kill after that commit may have come before anybody noted it."""
    events = list(takewhile(lambda event: event != Committed(2), build(setting(tmp_path)).run()))
    *points, samples = events[events.index(Committed(0)) + 1 :]
    assert [type(event) for event in points] == [StepMetrics] * 3  # two steps, and the evaluation after the second
    assert next(build(setting(tmp_path)).run()) == Resumed(points, samples, points[-1].step)


def test_after_a_damaged_checkpoint_each_step_is_in_the_history_once(tmp_path: Path) -> None:
    finish(build(setting(tmp_path, interrupted=iter([False, False, True]).__next__)))
    (tmp_path / "step_000003" / "state.json").write_text("damaged")
    events = list(build(setting(tmp_path)).run())
    assert isinstance(events[0], Resumed)
    assert (events[0].points[-1].step, events[0].known) == (2, 3)  # an earlier process told of the third step
    assert [step for step, _ in training_history(tmp_path)] == [0, 1, 2, 2, 3, 4, 4]


def test_an_interruption_commits_the_step_it_comes_at_and_ends_the_run(tmp_path: Path) -> None:
    trainer = build(setting(tmp_path, interrupted=iter([False, False, True]).__next__))
    events = list(trainer.run())
    assert events[-1] == Committed(3)  # between the evaluations at 2 and 4
    assert not trainer.finished
    assert "3" not in trainer.progress.dev_scores


def test_an_interruption_at_an_evaluation_commits_once(tmp_path: Path) -> None:
    events = list(build(setting(tmp_path, interrupted=iter([False, True]).__next__)).run())
    assert [type(event).__name__ for event in events[-3:]] == ["Samples", "Committed", "Committed"]
    assert sorted(p.name for p in tmp_path.glob("step_*")) == ["step_000000", "step_000002"]


@pytest.mark.parametrize("limit", [1, 8, 9])
def test_a_run_out_of_samples_takes_no_further_step_and_resumes_bitwise(tmp_path: Path, limit: int) -> None:
    whole = build(setting(tmp_path / "whole"))
    drawn = [int(metrics.values["num_samples"]) for metrics in finish(whole) if "num_samples" in metrics.values]
    enough = next(step for step in range(1, 5) if sum(drawn[:step]) >= limit)
    for _ in range(2):  # with the same limit it stays where it is
        trainer = build(setting(tmp_path / "cut", samples=limit))
        list(trainer.run())
        assert (trainer.spent, trainer.progress.step, trainer.progress.samples) == (True, enough, sum(drawn[:enough]))
    rest = build(setting(tmp_path / "cut", samples=limit + 10_000))
    finish(rest)
    assert same(everything(rest), everything(whole))
    assert rest.progress == whole.progress
    assert rest.progress.samples == sum(drawn)


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    first = build(setting(tmp_path))
    finish(first)
    again = build(setting(tmp_path))
    assert finish(again) == []
    assert same(everything(again), everything(first))


def test_the_seed_decides_the_run(tmp_path: Path) -> None:
    results = []
    for number, seed in enumerate((7, 7, 8)):
        trainer = build(setting(tmp_path / str(number), seed=seed))
        finish(trainer)
        results.append(everything(trainer))
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


CLOCK = ("time/", "step_time", "tokens_per_second", "memory/")


def history(checkpoints: Path) -> list[tuple[int, dict[str, float]]]:
    """All figures but those of the clock and the machine."""
    return [(s, {k: v for k, v in values.items() if not k.startswith(CLOCK)}) for s, values in training_history(checkpoints)]


def test_the_history_of_a_resumed_run_is_that_of_a_whole_one(tmp_path: Path) -> None:
    finish(build(setting(tmp_path / "whole")))
    events = build(setting(tmp_path / "cut")).run()
    next(event for event in events if isinstance(event, StepMetrics) and event.step == 3)
    finish(build(setting(tmp_path / "cut", interrupted=chain([True], repeat(False)).__next__)))
    finish(build(setting(tmp_path / "cut")))
    assert history(tmp_path / "cut") == history(tmp_path / "whole")
    assert [step for step, _ in history(tmp_path / "whole")] == [0, 1, 2, 2, 3, 4, 4]  # even steps are evaluated too
    assert sampled_rows(tmp_path / "cut") == sampled_rows(tmp_path / "whole")


def test_another_runs_checkpoints_are_refused(tmp_path: Path) -> None:
    finish(build(setting(tmp_path, short(steps=1), identity="a")))
    with pytest.raises(StoreError, match=r"Delete the checkpoints to train from the start"):
        finish(build(setting(tmp_path, short(steps=1), identity="b")))


@pytest.mark.parametrize(
    ("first", "other"),
    [({}, {"algorithm": "ppo"}), ({"lora": {"rank": 8}}, {"lora": {"rank": 4}}), ({"lora": {"rank": 8}}, {})],
)
def test_another_models_checkpoints_are_refused_too(tmp_path: Path, first: dict[str, Any], other: dict[str, Any]) -> None:
    finish(build(setting(tmp_path, short(steps=1, **first), identity="a")))
    with pytest.raises(StoreError, match=r"train from the start"):
        finish(build(setting(tmp_path, short(steps=1, **other), identity="b")))


def test_a_run_that_was_resumed_in_another_environment_is_no_longer_exact(tmp_path: Path) -> None:
    def resumed(stop: int) -> Trainer:
        trainer = build(setting(tmp_path, short(steps=6, epochs=1)))
        next(event for event in trainer.run() if event == Committed(stop))
        return trainer

    assert resumed(2).progress.exact
    torch.set_num_threads(2)
    assert not resumed(4).progress.exact
    torch.set_num_threads(1)
    assert not resumed(6).progress.exact  # what was lost cannot come back


# Events and checkpoints.


def test_figures_and_samples_come_before_the_checkpoint_that_covers_them(tmp_path: Path) -> None:
    events = [(type(event).__name__, event.step) for event in build(setting(tmp_path, short(steps=3))).run()]
    assert events == [
        ("StepMetrics", 0),
        ("Committed", 0),
        ("StepMetrics", 1),
        ("StepMetrics", 2),
        ("StepMetrics", 2),
        ("Samples", 2),
        ("Committed", 2),
        ("StepMetrics", 3),
        ("StepMetrics", 3),  # the last step is evaluated even between evaluations
        ("Samples", 3),
        ("Committed", 3),
    ]


def test_samples_show_each_reward_and_the_advantage(tmp_path: Path) -> None:
    events = [e for e in build(setting(tmp_path, sample_rows=5)).run() if isinstance(e, Samples)]
    assert [(event.step, len(event.rows)) for event in events] == [(2, 5), (4, 5)]
    names = {"prompt", "completion", "reward", "reward/digits", "advantage", "tokens", "finished"}
    assert all(row.keys() == names for event in events for row in event.rows)
    assert sampled_rows(tmp_path) == [row for event in events for row in event.rows]


def test_the_best_policy_is_that_of_the_best_evaluation(tmp_path: Path) -> None:
    scores, seen = iter([0.1, 0.9, 0.9, 0.3]), []

    def evaluate(policy: Policy) -> dict[str, float]:
        seen.append(weights(policy.model))
        return {"eval_sampled_accuracy": next(scores)}

    trainer = build(setting(tmp_path, short(steps=6, epochs=1), evaluate=evaluate))
    finish(trainer)
    assert trainer.progress.best_step == 2  # the earliest of equals
    assert same(weights(trainer.best_policy().model), seen[1])
    assert len(list(tmp_path.glob("step_*"))) == 3  # the newest two, and the best


def test_a_dev_score_that_is_not_a_number_is_the_worst(tmp_path: Path) -> None:
    scores = iter([0.0, float("nan"), float("nan")])
    trainer = build(setting(tmp_path, evaluate=lambda _: {"eval_sampled_accuracy": next(scores)}))
    figures = finish(trainer)
    assert trainer.progress.best_step == 0
    assert "eval_sampled_accuracy" not in figures[-1].values


def answering(policy: Policy, request: SamplingRequest) -> list[list[Completion]]:
    """An engine whose first sample for each prompt is right, and whose others are wrong."""
    groups = []
    for item in request.items:
        texts = [f"#### {ROWS[item % len(ROWS)]['answer']}"] + ["#### 99"] * (request.settings.samples - 1)
        tokens = [policy.encode_completion(text) for text in texts]
        groups.append([Completion(ids, [-1.0] * len(ids), True) for ids in tokens])
    return groups


def test_the_gap_between_training_and_dev_prompts_is_shown_at_each_evaluation(tmp_path: Path) -> None:
    given = setting(tmp_path, engine=answering, evaluate=lambda _: {"eval_sampled_accuracy": 0.1})
    evaluations = [m.values for m in finish(build(given)) if "eval_sampled_accuracy" in m.values]
    assert "train_dev_gap" not in evaluations[0]  # nothing was trained yet
    assert [values["train_dev_gap"] for values in evaluations[1:]] == pytest.approx([0.15] * 2)  # one of four is right


# What is learned from.


def test_equal_rewards_leave_the_weights_as_they_were(tmp_path: Path) -> None:
    trainer = build(setting(tmp_path, short(kl="none"), reward=constant))
    before = everything(trainer)
    figures = finish(trainer)
    assert same(everything(trainer), before)
    assert steps_of(figures)[0]["frac_reward_zero_std"] == 1


@pytest.mark.parametrize("algorithm", PRESETS)
def test_missing_rewards_train_nothing(tmp_path: Path, algorithm: str) -> None:
    trainer = build(setting(tmp_path, short(algorithm=algorithm, steps=2, critic={"warmup_steps": 1}), reward=missing))
    before = policy_weights(trainer)
    assert steps_of(finish(trainer))[0]["frac_reward_missing"] == 1
    assert same(policy_weights(trainer), before)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_without_rewards_changes_nothing_even_after_others(tmp_path: Path, variant: str) -> None:
    before: list[list[torch.Tensor]] = []

    def first_only(prompts: Sequence[str], completions: Sequence[str], rows: Rows) -> list[Grade]:
        before.append(everything(trainer))
        return (missing if len(before) > 1 else digits)(prompts, completions, rows)

    critic = {**VARIANTS[variant].critic.model_dump(), "warmup_steps": 0}
    train = Train(**{**VARIANTS[variant].model_dump(), "steps": 2, "critic": critic})
    trainer = build(setting(tmp_path, train, reward=first_only))
    finish(trainer)
    assert same(everything(trainer), before[1])  # moments that go on would move the weights


@pytest.mark.parametrize("algorithm", PRESETS)
def test_a_run_with_some_missing_rewards_stays_finite(tmp_path: Path, algorithm: str) -> None:
    train = short(algorithm=algorithm, steps=3, minibatches=3, critic={"warmup_steps": 1})
    figures = finish(build(setting(tmp_path, train, reward=sometimes)))
    if not train.sampling.refills:
        assert figures[1].values["frac_reward_missing"] == pytest.approx(1 / 3)
    assert all(values["skipped"] == 0 for values in steps_of(figures))
    assert all(torch.tensor(list(metrics.values.values())).isfinite().all() for metrics in figures)


@pytest.mark.parametrize("algorithm", PRESETS)
def test_the_reward_rises(tmp_path: Path, algorithm: str) -> None:
    critic = {"lr": 1e-2, "warmup_steps": 2}
    train = short(algorithm=algorithm, epochs=1, steps=24, prompts=4, k=8, lr=5e-2, evaluate_every=24, critic=critic)
    rewards = [values["reward"] for values in steps_of(finish(build(setting(tmp_path, train))))]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.15


def test_a_policy_that_stays_near_its_start_is_what_kl_in_the_loss_buys(tmp_path: Path) -> None:
    def distance(name: str, **values: Any) -> float:
        trainer = build(setting(tmp_path / name, short(steps=8, epochs=1, **values)))
        finish(trainer)
        start = weights(tiny_policy().model)
        return sum(float((a - b).abs().sum()) for a, b in zip(policy_weights(trainer), start, strict=True))

    assert distance("near", kl="loss", kl_coefficient=100.0) < distance("free", kl="none")


def test_the_learning_rate_decays_to_its_last_share(tmp_path: Path) -> None:
    train = short(steps=10, evaluate_every=10, epochs=1, lr_final=0.3)
    rates = [values["learning_rate"] for values in steps_of(finish(build(setting(tmp_path, train))))]
    assert rates == pytest.approx([3e-3 * max(0.3, 1 - step / 10) for step in range(10)])


def test_the_learning_rate_rises_to_its_full_height_over_the_warm_up(tmp_path: Path) -> None:
    train = short(steps=10, evaluate_every=10, epochs=1, lr_final=0.0, lr_warmup=3)
    rates = [values["learning_rate"] for values in steps_of(finish(build(setting(tmp_path, train))))]
    rise = [0.25, 0.5, 0.75, *[1.0] * 7]
    assert rates == pytest.approx([3e-3 * (1 - step / 10) * share for step, share in enumerate(rise)])


# The critic.


@pytest.mark.parametrize("critic", [{"warmup_steps": 2}, SHARED])
def test_ppo_leaves_the_policy_alone_while_its_critic_warms_up(tmp_path: Path, critic: dict[str, Any]) -> None:
    trainer = build(setting(tmp_path, short(algorithm="ppo", steps=2, critic=critic)))
    value_model = trainer.critic or trainer.actor.value_head
    assert value_model is not None
    before, untrained = policy_weights(trainer), weights(value_model)
    figures = steps_of(finish(trainer))
    assert same(policy_weights(trainer), before)
    assert not same(weights(value_model), untrained)
    assert {"value_loss", "critic/grad_norm"} <= figures[0].keys()
    assert "loss" not in figures[0]


@pytest.mark.parametrize("critic", [{"warmup_steps": 1}, {"trunk": "shared", "warmup_steps": 1}])
def test_ppo_trains_both_after_the_warm_up(tmp_path: Path, critic: dict[str, Any]) -> None:
    trainer = build(setting(tmp_path, short(algorithm="ppo", steps=2, critic=critic)))
    before = policy_weights(trainer)
    figures = steps_of(finish(trainer))
    assert not same(policy_weights(trainer), before)
    assert {"value_loss", "loss", "grad_norm"} <= figures[1].keys()


@pytest.mark.parametrize("critic", [{"lr": 1e-2}, {"trunk": "shared", "coefficient": 1.0, "warmup_steps": 0}])
def test_the_critic_comes_to_know_which_prompts_are_rewarded(tmp_path: Path, critic: dict[str, Any]) -> None:
    def by_prompt(prompts: Sequence[str], completions: Sequence[str], rows: Rows) -> list[Grade]:
        return [Grade(float(int(row["answer"]) % 2), {}) for row in rows]

    values = {"steps": 20, "evaluate_every": 20, "prompts": 8, "k": 2, "lr": 1e-2, "kl": "none"}
    train = short(algorithm="ppo", epochs=1, critic={**critic, "value_clip": None}, **values)
    explained = [step["explained_variance"] for step in steps_of(finish(build(setting(tmp_path, train, reward=by_prompt))))]
    assert explained[0] == 0  # every value is zero
    assert sum(explained[-5:]) / 5 > 0.1


# Rollouts.


class Listening:
    """The usual engine, with a record of what it was asked and what it drew."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, str]] = []  # prompts, purpose
        self.drawn: list[list[list[int]]] = []  # tokens by prompt and sample
        self.shift = 0.0  # of the log-probs that it reports

    def __call__(self, policy: Policy, request: SamplingRequest) -> list[list[Completion]]:
        groups = generate(policy, request)
        self.calls.append((len(request.prompts), request.seed.purpose))
        self.drawn += [[c.tokens for c in group] for group in groups]
        return [[Completion(c.tokens, [p + self.shift for p in c.log_probs], c.finished) for c in group] for group in groups]

    @property
    def tokens(self) -> int:
        return sum(len(tokens) for group in self.drawn for tokens in group)


def test_a_prompt_that_is_drawn_twice_in_a_step_is_not_answered_twice_alike(tmp_path: Path) -> None:
    engine = Listening()
    finish(build(setting(tmp_path, short(steps=1), rows=ROWS[:1], engine=engine)))
    assert len(engine.drawn) == 3
    assert engine.drawn[0] != engine.drawn[1] != engine.drawn[2] != engine.drawn[0]


def test_zero_variance_groups_are_refilled_up_to_the_bound_and_what_was_discarded_is_counted(tmp_path: Path) -> None:
    engine = Listening()
    train = short(algorithm="dapo", steps=1, sampling={"refills": 2})
    figures = steps_of(finish(build(setting(tmp_path, train, reward=constant, engine=engine))))[0]
    assert engine.calls == [(3, "rollout"), (3, "refill-0"), (3, "refill-1")]
    assert figures["sampling/refill_rounds"] == 2
    assert (figures["num_tokens"], figures["num_samples"]) == (engine.tokens, 36)
    assert figures["frac_reward_zero_std"] == 1


def test_refilling_ends_when_every_group_has_a_signal(tmp_path: Path) -> None:
    answers = chain([[0.5] * 12], repeat([0.0, 1.0] * 6))  # the first batch is silent

    def reward(prompts: Sequence[str], completions: Sequence[str], rows: Rows) -> list[Grade]:
        return [Grade(value, {}) for value, _ in zip(next(answers), completions, strict=True)]

    engine = Listening()
    train = short(algorithm="dapo", steps=1, epochs=1)
    figures = steps_of(finish(build(setting(tmp_path, train, reward=reward, engine=engine))))[0]
    assert engine.calls == [(3, "rollout"), (3, "refill-0")]
    assert (figures["sampling/refill_rounds"], figures["frac_reward_zero_std"]) == (1, 0)


def test_without_dynamic_sampling_zero_variance_groups_stay(tmp_path: Path) -> None:
    engine = Listening()
    figures = steps_of(finish(build(setting(tmp_path, short(steps=1), reward=constant, engine=engine))))[0]
    assert engine.calls == [(3, "rollout")]
    assert "sampling/refill_rounds" not in figures


@pytest.mark.parametrize("lora", [None, {"rank": 4}])
@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.7}, {"temperature": 1.4, "top_p": 0.7}])
def test_sampler_and_trainer_agree_on_what_was_drawn(tmp_path: Path, sampling: dict[str, float], lora: Any) -> None:
    train = short(steps=1, epochs=1, sampling=sampling, lora=lora)
    figures = steps_of(finish(build(setting(tmp_path, train))))[0]
    assert figures["approx_kl"] == pytest.approx(0, abs=1e-5)  # the first minibatch: every ratio is one
    assert figures["clip_ratio/region_mean"] == 0


@pytest.mark.parametrize(
    ("correction", "weight", "approx_kl"), [("none", None, 0.1), ("auto", 1.1052, 0.0), ("truncated", 1.1052, 0.0)]
)
def test_an_engine_with_other_log_probs_is_corrected_for(
    tmp_path: Path, correction: str, weight: float | None, approx_kl: float
) -> None:
    engine = Listening()
    engine.shift = -0.1  # it says exp(-0.1) of the trainer's probability: a weight of exp(0.1) = 1.1052
    train = short(steps=1, epochs=1, loss={"correction": correction}, sentinel={"looks": []})
    figures = steps_of(finish(build(setting(tmp_path, train, engine=engine))))[0]
    assert figures["mismatch/log_prob_mean_abs"] == pytest.approx(0.1, abs=1e-4)
    assert figures["sentinel/mismatch"] == 1  # above 0.05: a warning
    assert figures.get("sampling/importance_sampling_ratio/mean") == (weight and pytest.approx(weight, abs=1e-3))
    assert abs(figures["approx_kl"]) == pytest.approx(approx_kl, abs=1e-4)


def test_the_products_own_engine_is_not_corrected_for(tmp_path: Path) -> None:
    figures = steps_of(finish(build(setting(tmp_path, short(steps=1)))))[0]
    assert "sampling/importance_sampling_ratio/mean" not in figures
    assert figures["mismatch/log_prob_mean_abs"] < 1e-5
    assert 0 <= figures["mismatch/kl"] < 1e-6


def test_a_run_in_bf16_keeps_its_weights_in_fp32_and_stays_finite(tmp_path: Path) -> None:
    trainer = build(setting(tmp_path, short(algorithm="ppo", critic={"warmup_steps": 0}, precision="bf16", steps=2)))
    assert all(values["skipped"] == 0 for values in steps_of(finish(trainer)))
    assert {tensor.dtype for tensor in everything(trainer)} == {torch.float32}


# The adaptive KL coefficient.


def adaptive(tmp_path: Path, **values: Any) -> Trainer:
    given = {"algorithm": "reinforce_pp", "steps": 1, **values}
    train = short(kl_coefficient=0.5, kl_horizon=12, **given)  # 12 samples per step
    trainer = build(setting(tmp_path, train))
    finish(trainer)
    return trainer


def test_the_kl_coefficient_falls_while_divergence_is_below_its_target(tmp_path: Path) -> None:
    assert adaptive(tmp_path, kl_target=1.0).progress.kl_coefficient == pytest.approx(0.4)  # no divergence yet: -20%


def test_the_kl_coefficient_rises_while_divergence_is_above_its_target(tmp_path: Path) -> None:
    # the first step has no divergence and takes 20% off, the second is far above 10^-6 nats and adds 20%
    assert adaptive(tmp_path, kl_target=1e-6, steps=2).progress.kl_coefficient == pytest.approx(0.48)


@pytest.mark.parametrize("critic", [{"warmup_steps": 2}, SHARED])
def test_the_kl_coefficient_stays_while_the_critic_alone_learns(tmp_path: Path, critic: dict[str, Any]) -> None:
    values = {"algorithm": "ppo", "critic": critic, "kl_target": 1.0}
    for steps, expected in ((2, 0.5), (3, 0.4)):  # the third step is the policy's first
        found = adaptive(tmp_path / str(steps), steps=steps, **values).progress.kl_coefficient
        assert found == pytest.approx(expected)


def test_without_a_target_the_kl_coefficient_stays(tmp_path: Path) -> None:
    assert adaptive(tmp_path, steps=2).progress.kl_coefficient == 0.5


@pytest.mark.parametrize(("steps", "equal"), [(1, True), (2, False)])  # without divergence there is nothing to weigh
def test_the_next_step_is_trained_with_the_adapted_coefficient(tmp_path: Path, steps: int, equal: bool) -> None:
    fixed = adaptive(tmp_path / "fixed", steps=steps)
    moving = adaptive(tmp_path / "moving", steps=steps, kl_target=1.0)
    assert same(policy_weights(fixed), policy_weights(moving)) == equal


# LoRA.


def test_a_run_with_an_adapter_keeps_the_adapter_alone(tmp_path: Path) -> None:
    trainer = build(setting(tmp_path, short(lora={"rank": 4}, steps=2)))
    start = weights(tiny_policy().model)
    finish(trainer)
    assert all(".lora_" in name for name in load_file(tmp_path / "step_000002" / "policy.safetensors"))
    frozen = [p for name, p in trainer.actor.model.named_parameters() if "lora_" not in name]
    assert same(frozen, start)


def test_the_reference_of_an_adapter_is_the_start_even_after_training(tmp_path: Path) -> None:
    groups = [Group([5, 6, 7], [[8, 9, 10], [11]])]
    trainer = build(setting(tmp_path, short(lora={"rank": 4}, steps=2)))
    finish(trainer)
    assert trainer.reference is not None
    assert trainer.reference.completion_log_probs(groups) == completion_log_probs(tiny_policy(), groups)
    assert completion_log_probs(trainer.actor.policy, groups) != completion_log_probs(tiny_policy(), groups)


def test_the_best_adapter_can_be_merged(tmp_path: Path) -> None:
    groups = [Group([5, 6, 7], [[8, 9, 10], [11]])]
    seen: list[list[float]] = []

    def evaluate(policy: Policy) -> dict[str, float]:
        seen.append(completion_log_probs(policy, groups))
        return {"eval_sampled_accuracy": [0.0, 0.9, 0.3][len(seen) - 1]}

    trainer = build(setting(tmp_path, short(lora={"rank": 4}, lr=3e-2), evaluate=evaluate))
    finish(trainer)
    trainer.best_policy()
    merged = torch.tensor(completion_log_probs(trainer.actor.merged(), groups))
    assert_close(merged, torch.tensor(seen[1]), rtol=0, atol=1e-3)
    assert (merged - torch.tensor(seen[2])).abs().max() > 0.01


# What is not finite.


def poison_gradients(trainer: Trainer) -> None:
    next(p for p in trainer.actor.parameters() if p.requires_grad).register_hook(lambda gradient: gradient * torch.nan)


def test_three_gradients_in_a_row_that_are_not_finite_stop_the_run(tmp_path: Path) -> None:
    trainer = build(setting(tmp_path))
    before = policy_weights(trainer)
    poison_gradients(trainer)
    figures = steps_of(finish(trainer))
    assert (trainer.progress.step, trainer.progress.stopped) == (3, "nonfinite")
    assert [values["skipped"] for values in figures] == [2, 2, 2]  # both passes
    assert same(policy_weights(trainer), before)


@pytest.mark.parametrize("variant", ["grpo", "ppo with a shared trunk", "grpo with an adapter and top-p"])
def test_a_stopped_run_goes_back_to_its_last_checkpoint(tmp_path: Path, variant: str) -> None:
    train = Train(**{**VARIANTS[variant].model_dump(), "steps": 20, "evaluate_every": 20})
    first = build(setting(tmp_path, train, interrupted=lambda: True))
    finish(first)  # a checkpoint at step 1
    trainer = build(setting(tmp_path, train))
    for event in trainer.run():
        if isinstance(event, StepMetrics) and event.step == 2:
            assert not same(everything(trainer), everything(first))
            poison_gradients(trainer)
    assert (trainer.progress.step, trainer.progress.stopped) == (5, "nonfinite")
    assert same(everything(trainer), everything(first))  # weights and moments


def test_a_stopped_run_stays_stopped_when_it_is_resumed(tmp_path: Path) -> None:
    trainer = build(setting(tmp_path))
    poison_gradients(trainer)
    finish(trainer)
    again = build(setting(tmp_path))
    assert finish(again) == []
    assert again.progress.stopped == "nonfinite"


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_policy_that_has_turned_into_nan_is_stopped_in_an_orderly_way(tmp_path: Path, variant: str) -> None:
    calls: list[int] = []
    values = {"critic": {**VARIANTS[variant].critic.model_dump(), "warmup_steps": 0}, "evaluate_every": 20}
    train = Train(**{**VARIANTS[variant].model_dump(), **values})

    def poisoning(prompts: Sequence[str], completions: Sequence[str], rows: Rows) -> list[Grade]:
        calls.append(1)
        if len(calls) == 2:
            next(p for p in trainer.actor.parameters() if p.requires_grad).data.fill_(torch.nan)
        return digits(prompts, completions, rows)

    trainer = build(setting(tmp_path, train, reward=poisoning, evaluate=lambda _: {"eval_sampled_accuracy": 0.0}))
    finish(trainer)
    assert trainer.progress.stopped == "nonfinite"
    assert trainer.progress.best_step == 0
    assert same(policy_weights(trainer), policy_weights(build(setting(tmp_path / "fresh", train))))
