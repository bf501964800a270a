"""Presets: what an algorithm's name stands for, and that the recipe's own words come first."""

from typing import get_args

import pytest

from ratchet.components.recipe import Train
from ratchet.components.recipe.presets import PRESETS, with_preset
from ratchet.components.recipe.train import Algorithm


def test_every_algorithm_has_a_preset() -> None:
    assert set(PRESETS) == set(get_args(Algorithm))


@pytest.mark.parametrize("algorithm", PRESETS)
def test_a_preset_is_a_possible_combination(algorithm: str) -> None:
    assert Train(algorithm=algorithm).algorithm == algorithm


@pytest.mark.parametrize("algorithm", PRESETS)
def test_a_preset_sets_what_it_says(algorithm: str) -> None:
    values = Train(algorithm=algorithm).model_dump()
    for key, value in PRESETS[algorithm].items():
        given = value if isinstance(value, dict) else {}
        assert {name: values[key][name] for name in given} == given if given else values[key] == value


def test_the_recipe_comes_before_the_preset() -> None:
    train = Train(algorithm="dapo", loss={"clip_high": 0.5}, kl="loss")
    assert (train.loss.clip_high, train.kl) == (0.5, "loss")
    assert train.loss.normaliser == "token_mean"  # the rest of the section is the preset's


def test_merging_changes_neither_side() -> None:
    given = {"loss": {"clip_low": 0.1}}
    with_preset("dapo", given)
    assert given == {"loss": {"clip_low": 0.1}}
    assert PRESETS["dapo"]["loss"] == {"clip_high": 0.28, "normaliser": "token_mean"}


def test_gspo_and_cispo_have_their_papers_ranges() -> None:
    assert Train(algorithm="gspo").loss.clip_low == 3e-4
    assert Train(algorithm="cispo").loss.clip_low == 1.0  # no lower bound
