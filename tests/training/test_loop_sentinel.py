"""The loop under the sentinel: when dev is looked at, what a stop hands over, and that a resumed run stops alike."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ratchet.components.policy.loading import Policy
from ratchet.components.training.events import StepMetrics
from ratchet.components.training.loop import Trainer
from ratchet.components.training.progress import training_history
from ratchet.components.training.sentinel import DevResult, Stop, dev_result
from ratchet.components.training.setting import Setting
from tests.tiny_models import same, weights
from tests.training.toy import OFF, build, finish, policy_weights, setting, short


def watched(checkpoints: Path, dev: Sequence[DevResult] = (), **limits: Any) -> Setting:
    """A run of eight steps, evaluated every second one; the evaluations come out as given."""
    results = iter(dev)

    def evaluate(policy: Policy) -> DevResult:
        return next(results, dev_result({"eval_sampled_accuracy": 0.5}, [], []))

    train = short(steps=8, epochs=1, sentinel={**OFF, **limits})
    return replace(setting(checkpoints, train), evaluate=evaluate)


def dev(accuracy: float, proxy: float) -> DevResult:
    """Forty items."""
    right = round(40 * accuracy)
    return dev_result({"eval_sampled_accuracy": accuracy}, [1.0] * right + [0.0] * (40 - right), [proxy] * 40)


HACKED = [dev(0.6, 0.0), dev(0.8, 1.0), dev(0.5, 2.0), dev(0.1, 3.0)]


def test_dev_is_evaluated_at_the_looks_too(tmp_path: Path) -> None:
    finish(build(watched(tmp_path, looks=[1, 3])))
    evaluated = [step for step, values in training_history(tmp_path) if "eval_sampled_accuracy" in values]
    assert evaluated == [0, 1, 2, 3, 4, 6, 8]


def test_a_gap_ends_training_and_the_gold_best_checkpoint_is_handed_over(tmp_path: Path) -> None:
    trainer, seen = build(watched(tmp_path, HACKED, gap=3.0)), []
    for event in trainer.run():
        if isinstance(event, StepMetrics) and "eval_sampled_accuracy" in event.values:
            seen.append(weights(trainer.actor.policy.model))
    assert trainer.progress.stop is not None
    assert (trainer.progress.stopped, trainer.progress.stop.step) == ("proxy_gold_gap", 4)
    assert trainer.progress.best_step == 2
    assert same(weights(trainer.best_policy().model), seen[1])


SLOW = [dev(0.6, 0.0), dev(0.8, 1.0), dev(0.7, 2.0), dev(0.7, 3.0), dev(0.7, 4.0)]  # 2.08 standard errors below the best


def asked_again(
    checkpoints: Path, opinion: Sequence[DevResult], before: Callable[[int], None] = lambda evaluation: None
) -> tuple[Trainer, list[list[Any]], list[list[Any]]]:
    """A finished run, the weights at its dev evaluations, and those at its second opinions."""
    evaluated: list[Any] = []
    asked: list[Any] = []
    opinions = iter(opinion)

    def again(policy: Policy) -> DevResult:
        asked.append(weights(policy.model))
        return next(opinions)

    given = watched(checkpoints, SLOW, gap=3.0, second_opinion=2.5)
    evaluate = given.evaluate

    def noting(policy: Policy) -> DevResult:
        before(len(evaluated))
        evaluated.append(weights(policy.model))
        return evaluate(policy)

    trainer = build(replace(given, evaluate=noting, evaluate_again=[again]))
    finish(trainer)
    return trainer, evaluated, asked


def test_a_second_opinion_is_of_this_policy_and_of_the_best_and_may_end_training(tmp_path: Path) -> None:
    trainer, evaluated, asked = asked_again(tmp_path, [dev(0.5, 2.0), dev(0.8, 1.0)])  # now, then the best
    assert trainer.progress.stop is not None
    assert (trainer.progress.stop.signal, trainer.progress.stop.step) == ("sentinel/second_opinion", 4)
    assert [same(found, expected) for found, expected in zip(asked, (evaluated[2], evaluated[1]), strict=True)] == [True, True]
    assert trainer.progress.best_step == 2


def test_a_second_opinion_that_disagrees_does_not_touch_the_training(tmp_path: Path) -> None:
    trainer, _, asked = asked_again(tmp_path / "asked", [dev(0.8, 2.0)] * 4)
    assert trainer.progress.stop is None
    assert len(asked) == 4  # at steps 4 and 6; after the last step there is nothing to end
    alone = build(watched(tmp_path / "alone", SLOW))
    finish(alone)
    assert same(policy_weights(trainer), policy_weights(alone))


def test_faults_without_the_best_checkpoint_there_is_no_second_opinion_and_another_one_is_best(tmp_path: Path) -> None:
    def damage(evaluation: int) -> None:
        if evaluation == 2:
            (tmp_path / "step_000002" / "policy.safetensors").write_bytes(b"bad")

    trainer, evaluated, asked = asked_again(tmp_path, [dev(0.7, 2.0)] * 2, before=damage)
    assert (trainer.progress.stop, trainer.progress.step) == (None, 8)
    assert (trainer.progress.lost, trainer.progress.exact, trainer.progress.best_step) == ([2], False, 4)
    assert same(weights(trainer.best_policy().model), evaluated[2])
    assert len(asked) == 2  # at step 6, of the new best one; none at step 4


def test_a_rule_on_steps_ends_training_with_a_last_evaluation(tmp_path: Path) -> None:
    trainer = build(watched(tmp_path, patience=1, baseline_steps=1, entropy_low=1.0, entropy_high=1.0001))
    figures = finish(trainer)
    assert trainer.progress.stopped == "entropy"
    last = [metrics for metrics in figures if metrics.step == trainer.progress.step]
    assert any(name.startswith("sentinel/entropy") for name in last[0].values)
    assert "eval_sampled_accuracy" in last[-1].values


def test_a_resumed_run_stops_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    whole = build(watched(tmp_path / "whole", HACKED, gap=3.0))
    finish(whole)
    first = build(watched(tmp_path / "cut", HACKED[:2], gap=3.0))
    for event in first.run():
        if isinstance(event, StepMetrics) and event.step == 3:
            break
    rest = build(watched(tmp_path / "cut", HACKED[2:], gap=3.0))
    finish(rest)
    assert rest.progress == whole.progress
    assert same(policy_weights(rest), policy_weights(whole))


def test_rules_do_not_touch_the_training(tmp_path: Path) -> None:
    runs: list[Trainer] = []
    for name, limits in (("off", {}), ("on", {"gap": 9.0, "kl": 1e6, "gradient": 1e3, "silent": 1.0, "looks": [1, 3, 5]})):
        runs.append(build(watched(tmp_path / name, **limits)))
        finish(runs[-1])
    assert [run.progress.stop for run in runs] == [None, None]
    assert same(policy_weights(runs[0]), policy_weights(runs[1]))


def test_a_stop_is_kept_with_its_figures(tmp_path: Path) -> None:
    finish(build(watched(tmp_path, HACKED, gap=3.0)))
    stop = build(watched(tmp_path, gap=3.0))
    assert finish(stop) == []
    assert isinstance(stop.progress.stop, Stop)
    assert stop.progress.stop.signal == "sentinel/gap"
