"""Scoring a sealed fold: only what is asked, and no second try by another seed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.records import Arm, ItemResult
from ratchet.components.stages.scoring import Models
from ratchet.components.stages.sealed import SealedStage, sealed_evaluation
from tests.stages.by_hand import context_of, data_stage, key_of_look, policy_stage, problem, saved_policy, watching

FOLD = [problem(n)["id"] for n in range(3)]
ASKED: dict[str, Any] = {"fold": "sealed_0", "items": FOLD[:2], "greedy": [], "guard": False}


@pytest.fixture
def key(tmp_path: Path) -> Callable[..., str]:
    data = data_stage(tmp_path / "version", sealed_0=3, sealed_1=3)
    models = Models(policy_stage("c"), policy_stage("i"), policy_stage("s"))

    def look(*overrides: str, **changes: Any) -> str:
        given: dict[str, Any] = {"data": data, "models": models} | ASKED | changes
        return key_of_look(context_of(tmp_path, *overrides), lambda context: sealed_evaluation(context, **given))

    return look


ANOTHER: list[dict[str, Any]] = [
    {"fold": "sealed_1"},
    {"items": FOLD[:1]},
    {"greedy": ["sealed"]},
    {"guard": True},
    {"models": Models(policy_stage("other"), policy_stage("i"), policy_stage("s"))},
    {"models": Models(policy_stage("c"), policy_stage("other"), policy_stage("s"))},
    {"models": Models(policy_stage("c"), policy_stage("i"), policy_stage("other"))},
]


@pytest.mark.parametrize("change", ANOTHER)
def test_what_is_scored_and_who_answers_is_in_the_key(key: Callable[..., str], change: dict[str, Any]) -> None:
    assert key(**change) != key()


def test_the_dataset_version_and_how_it_is_answered_are_in_the_key(tmp_path: Path, key: Callable[..., str]) -> None:
    other = data_stage(tmp_path / "other", version="f" * 32, sealed_0=3)
    assert len({key(), key(data=other), key("evaluation.samples=2"), key("policy.max_new_tokens=9")}) == 4


def test_another_seed_name_or_rule_is_not_a_second_try(key: Callable[..., str]) -> None:
    assert key("seed=9", "name=other", "gate.rules.floor=0.1", "threads=2") == key()


class Fold:
    """Two tiny policies before a fold of three items and a guard split of two."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.data = data_stage(place / "version", sealed_0=3, guard=2)
        start = saved_policy(place / "start", seed=0)
        self.models = Models(saved_policy(place / "challenger", seed=1), start, start)

    def score(self, home: str, *overrides: str, **changes: Any) -> SealedStage:
        context = context_of(self.place / home, "policy.max_new_tokens=4", *overrides)
        stage = sealed_evaluation(context, self.data, self.models, **(ASKED | changes))
        self.told = watching(context).steps
        return stage


@pytest.fixture
def fold(tmp_path: Path) -> Fold:
    return Fold(tmp_path)


def names(stage: SealedStage) -> set[str]:
    return {name for name in stage.files if name.endswith(".jsonl")}


def ids(results: list[ItemResult]) -> list[str]:
    return [result.id for result in results]


def test_only_the_items_that_are_asked_for_are_answered(fold: Fold) -> None:
    stage = fold.score("a")
    assert fold.told == [("gate", n, 2) for n in range(3)]  # people are told of the gate, not of another evaluation
    assert names(stage) == {"challenger_sampled.jsonl", "incumbent_sampled.jsonl"}
    assert {name: ids(results) for name, results in stage.results().items()} == {
        "challenger_sampled": FOLD[:2],
        "incumbent_sampled": FOLD[:2],
    }
    assert stage.scored == {
        "challenger": fold.models.challenger.policy_digest,
        "incumbent": fold.models.incumbent.policy_digest,
    }


@pytest.mark.parametrize(
    ("greedy", "places"), [(["sealed"], [""]), (["guard"], ["guard/"]), (["sealed", "guard"], ["", "guard/"])]
)
def test_greedy_rows_are_there_in_the_places_that_need_them(fold: Fold, greedy: list[str], places: list[str]) -> None:
    stage = fold.score("a", greedy=greedy, guard=True)
    sampled = {f"{place}{arm}_sampled.jsonl" for place in ("", "guard/") for arm in Arm}
    assert names(stage) == sampled | {f"{place}{arm}_greedy.jsonl" for place in places for arm in Arm}
    assert ids(stage.results("guard")["challenger_sampled"]) == [row["id"] for row in fold.data.table("guard")]


def test_the_draws_are_the_folds_and_the_challengers_whatever_the_recipes_seed(fold: Fold) -> None:
    first, second = fold.score("a", "seed=3"), fold.score("b", "seed=4")
    assert first.results() == second.results()
    started = fold.models.start
    fold.models = Models(started, started, started)
    of_another = fold.score("c").results()["incumbent_sampled"]
    assert [r.completion for r in of_another] != [r.completion for r in first.results()["incumbent_sampled"]]


def test_a_scored_fold_is_found_without_reading_it_again(fold: Fold) -> None:
    made = fold.score("a")
    (fold.data.path / "data" / "sealed_0.jsonl").unlink()
    found = fold.score("a", "seed=4")
    assert (found.cached, found.digest) == (True, made.digest)
    assert replace(found, seconds=0.0).as_json() == {"name": "sealed", "key": made.key, "cached": True, "seconds": 0.0}
