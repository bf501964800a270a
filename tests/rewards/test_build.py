"""A recipe's reward section becomes a reward function."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from ratchet.components.errors import ModelError, RewardError
from ratchet.components.graders.faults import Retrying
from ratchet.components.graders.protocol import Grade
from ratchet.components.graders.worker.function import Worker
from ratchet.components.recipe import Reward
from ratchet.components.rewards.build import build_reward
from ratchet.components.rewards.combine import Ensemble, Mix, Sum
from ratchet.components.rewards.learned.model import RewardModel

CPU = torch.device("cpu")
ROWS = [{"answer": "#### 5"}] * 2
RIGHT_AND_WRONG = ["#### 5", "#### 6"]


class Fixed:
    """A reward model that gives the same totals whatever it reads."""

    def __init__(self, *totals: float | None) -> None:
        self.totals = totals

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        return [Grade(total, {}) for total in self.totals]


def mixed(*totals: float | None, verifier_weight: float = 1.0, model_weight: float = 0.2) -> list[float | None]:
    mix = Mix(Fixed(*totals), verifier_weight, model_weight)
    return [grade.score for grade in mix(["", ""], RIGHT_AND_WRONG, ROWS)]


def totals(settings: Reward, model: Path | None = None) -> list[float | None]:
    return [grade.score for grade in build_reward(settings, model, CPU)(["", ""], RIGHT_AND_WRONG, ROWS)]


def test_the_verifier_needs_no_model() -> None:
    assert totals(Reward(kind="verifier")) == [1.0, 0.0]


def test_a_custom_reward_is_the_users_function() -> None:
    settings = Reward(kind="custom", function="ratchet.components.graders.number:grade_numbers", environment=["JUDGE_URL"])
    made = build_reward(settings, None, CPU)
    assert isinstance(made, Retrying)
    assert isinstance(made.function, Worker)
    assert [grade.score for grade in made(["", ""], RIGHT_AND_WRONG, ROWS)] == [1.0, 0.0]


@pytest.mark.parametrize(("kind", "made"), [("model", RewardModel), ("mix", Mix)])
def test_a_learned_reward_is_loaded_from_its_directory(classifier: Path, kind: Any, made: type) -> None:
    assert isinstance(build_reward(Reward(kind=kind), classifier, CPU), made)


def test_a_sum_has_terms_of_every_kind(trunk: Path, classifier: Path) -> None:
    terms = [
        {"name": "right", "weight": 1.0},
        {"name": "short", "weight": 0.5, "verifier": {"type": "length", "longest": 3, "slope": 3.0}},
        {"name": "own", "weight": 2.0, "of": "custom", "function": "ratchet.components.graders.number:grade_numbers"},
    ]
    # "#### 5" has six characters, three too many: 1 - 3 / 3 = 0. Right: 1 + 0 + 2; wrong: 0.
    assert totals(Reward.model_validate({"kind": "sum", "terms": terms})) == [3.0, 0.0]
    learned = Reward.model_validate({"kind": "sum", "terms": [*terms, {"name": "taste", "weight": 0.1, "of": "model"}]})
    assert learned.needs_model
    assert isinstance(build_reward(learned, classifier, CPU), Sum)


def test_an_ensemble_is_loaded_from_its_members(classifier: Path, tmp_path: Path) -> None:
    for number in range(2):
        RewardModel.load(classifier, CPU).save(tmp_path / str(number))
    settings = Reward.model_validate({"kind": "model", "model": {"members": 2, "combine": "min"}})
    assert isinstance(build_reward(settings, tmp_path, CPU), Ensemble)
    alone = build_reward(Reward(kind="model"), classifier, CPU)(["", ""], RIGHT_AND_WRONG, ROWS)
    assert totals(settings, tmp_path) == [grade.score for grade in alone]


def test_a_learned_reward_without_its_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"reward\.model\.base"):
        build_reward(Reward(kind="model"), tmp_path / "absent", CPU)


def test_a_mix_adds_the_verifier_and_the_squashed_model_by_their_weights() -> None:
    # sigmoid(0) = 0.5 and sigmoid(ln 3) = 0.75: 2 * 1 + 0.4 * 0.5 = 2.2 and 2 * 0 + 0.4 * 0.75 = 0.3.
    assert mixed(0.0, math.log(3), verifier_weight=2.0, model_weight=0.4) == pytest.approx([2.2, 0.3])


def test_a_mix_is_bounded_whatever_the_model_says() -> None:
    assert mixed(-1e300, 1e300) == pytest.approx([1.0, 0.2])


def test_a_mix_does_not_judge_what_its_model_could_not() -> None:
    assert mixed(None, 0.0) == [None, pytest.approx(0.1)]


@pytest.mark.parametrize("totals", [(math.nan, 0.0), (math.inf, 0.0), (0.0,), (0.0, 0.0, 0.0)])
def test_a_mix_refuses_a_model_that_breaks_the_protocol(totals: tuple[float, ...]) -> None:
    with pytest.raises(RewardError, match="the reward model returned"):
        mixed(*totals)


def test_a_mix_keeps_its_parts_apart() -> None:
    assert Mix(Fixed(0.5), 1.0, 0.2)([""], ["#### 5"], ROWS[:1])[0].parts == {"verifier": 1.0, "model": 0.5}
