"""What MLflow shows of a run: a name that says how it ended, few parameters, and figures that line up across runs."""

import pytest

from ratchet.components.recipe import load_recipe
from ratchet.components.records import Outcome
from ratchet.components.run.columns import MOST, before_and_after, curves, flatten, run_name, run_parameters, stage_parameters
from ratchet.components.run.outcome import RunResult, Status
from ratchet.components.stages.stage import Stage
from tests.places import MICRO


@pytest.mark.parametrize(
    ("result", "name"),
    [
        (None, "maths 2026-11-27"),
        (RunResult(Status.PROMOTED, Outcome.PROMOTE, version="3"), "maths 2026-11-27 promoted v3"),
        (RunResult(Status.REWARD_REFUSED), "maths 2026-11-27 reward refused"),
    ],
)
def test_a_name_has_recipe_date_and_ending(result: RunResult | None, name: str) -> None:
    assert run_name("maths", "2026-11-27T23:59:01+00:00", result) == name


def test_a_run_has_the_parameters_that_tell_it_apart_and_each_stage_its_part_of_the_recipe() -> None:
    recipe = load_recipe(MICRO, ["train.algorithm=ppo", "train.k=1"])
    shown = run_parameters(recipe)
    assert len(shown) <= 15
    assert shown.items() >= {"train.algorithm": "ppo", "seed": 3, "reward.kind": "mix", "policy.model": None}.items()
    every = flatten(recipe.model_dump(mode="json"))
    train = stage_parameters(recipe, Stage.TRAIN)
    assert train == {name: value for name, value in every.items() if name.startswith("train.")}
    assert {name.partition(".")[0] for name in stage_parameters(recipe, Stage.GOLD)} == {"gold", "graders"}
    assert stage_parameters(recipe, Stage.CHAMPION) == {}


def test_before_and_after_are_figures_of_the_same_measure_and_none_if_one_is_missing() -> None:
    def dev(before: float | None, after: float | None) -> dict[str, dict[str, dict[str, float | None]]]:
        return {"incumbent_sampled": {"accuracy": {"value": before}}, "challenger_sampled": {"accuracy": {"value": after}}}

    assert before_and_after(dev(0.25, 0.75)) == {"dev/before": 0.25, "dev/after": 0.75, "dev/gain": 0.5}
    assert before_and_after(dev(None, 0.75)) == {}


def test_curves_have_the_same_names_whatever_the_algorithm_and_count_the_samples() -> None:
    first = (1, {"reward": 0.5, "num_samples": 8.0, "critic/loss": 1.0, "entropy": float("nan")})
    dev, second = (1, {"eval_sampled_accuracy": 0.25}), (2, {"reward": 0.75, "num_samples": 8.0})
    assert curves([first, dev, second]) == [
        (1, {"curve/dev": 0.25, "curve/samples": 8.0}),
        (1, {"curve/reward": 0.5, "curve/samples": 8.0}),
        (2, {"curve/reward": 0.75, "curve/samples": 16.0}),
    ]
    assert curves([]) == []


def test_a_long_training_has_no_more_points_than_a_short_one_and_keeps_its_last() -> None:
    long = [(step, {"reward": float(step), "num_samples": 1.0}) for step in range(1, 10_001)]
    shown = curves(long)
    assert MOST / 2 < len(shown) <= MOST
    assert shown[-1] == (10_000, {"curve/reward": 10_000.0, "curve/samples": 10_000.0})


def test_flatten_joins_sections_with_dots() -> None:
    assert flatten({"a": 1, "b": {"c": [2], "d": {"e": None}}}) == {"a": 1, "b.c": [2], "b.d.e": None}
