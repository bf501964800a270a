"""The policy as a model of inspect_ai, and tasks read as items."""

from pathlib import Path
from typing import Any

import pytest

from ratchet.components.errors import DataError, ModelError
from ratchet.components.evaluation.benchmarks.answers import DecodingSettings, Respondent
from ratchet.components.evaluation.benchmarks.containment import contained
from ratchet.components.evaluation.benchmarks.inspect_ai import inspect_items
from ratchet.components.recipe import Inspect, Slice
from ratchet.components.records import ItemResult
from tests.evaluation.benchmarks.library_tasks import inspect_file
from tests.tiny_models import tiny_policy


def items(folder: Path, task: str = "sums", samples: int = 1, seed: int = 7, **options: Any) -> list[ItemResult]:
    benchmark = Inspect(kind="inspect", task=f"{inspect_file(folder)}@{task}", **options)
    respondent, slices = Respondent(tiny_policy(), seed, "b"), [Slice(name="second", field="level", equals=2)]
    with contained("b", benchmark) as scratch:
        return inspect_items(
            "b", benchmark, respondent, defaults=DecodingSettings(1.0, 8), samples=samples, folder=scratch, slices=slices
        )


def test_items_are_scored_by_the_first_scorer_and_leave_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    results = items(tmp_path)
    assert [r.passed for r in results] == [False, True, False]  # "even" is right where the level is 2
    assert [r.prompt for r in results] == ["1 + 1 =", "2 + 2 =", "3 + 3 ="]
    assert [r.slices for r in results] == [[], ["second"], []]
    assert {(r.fault, r.kl, r.answer, r.sample) for r in results} == {(None, None, None, 0)}
    assert [path.name for path in tmp_path.rglob("*")] == ["sums.py"]


def test_answers_are_the_policys_own_at_the_tasks_limit_and_the_recipes_temperature(tmp_path: Path) -> None:
    respondent = Respondent(tiny_policy(), 7, "b")
    prompts = [[{"role": "user", "content": f"{n} + {n} ="}] for n in (1, 2, 3)]
    expected = respondent.answer(prompts, DecodingSettings(temperature=1.0, max_new_tokens=6))
    results = items(tmp_path)
    assert [(r.completion, r.length, r.finished) for r in results] == [(a.text, a.length, a.finished) for a in expected]
    assert [r.completion for r in items(tmp_path, seed=8)] != [r.completion for r in results]


def test_epochs_are_samples_and_the_first_is_what_one_alone_would_be(tmp_path: Path) -> None:
    results = items(tmp_path, samples=2)
    first, second = ([r for r in results if r.sample == number] for number in (0, 1))
    assert first == items(tmp_path)
    assert [r.id for r in second] == [r.id for r in first]
    assert [r.completion for r in second] != [r.completion for r in first]


def test_the_limit_takes_the_first_items(tmp_path: Path) -> None:
    assert [r.prompt for r in items(tmp_path, limit=2)] == ["1 + 1 =", "2 + 2 ="]


@pytest.mark.parametrize(
    ("task", "options", "error", "complaint"),
    [
        ("sums", {"scorer": "charm"}, DataError, "has no scorer 'charm'; it has even, includes, points"),
        ("sums", {"scorer": "points"}, DataError, "the scorer gives 37.5"),
        ("other", {}, DataError, "inspect_ai cannot run .*other"),
        ("with_system", {}, ModelError, "the task sets top_k"),
    ],
)
def test_what_cannot_be_answered_or_judged_is_refused(
    tmp_path: Path, task: str, options: dict[str, Any], error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        items(tmp_path, task, **options)
