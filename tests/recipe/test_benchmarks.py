"""What ``evaluation.benchmarks`` may hold, and which guards may be on it."""

from typing import Any

import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.recipe import Inspect, LmEval, build_recipe

GSM = {"kind": "lm_eval", "task": "gsm8k", "limit": 200}
SUMS = {"kind": "inspect", "task": "tasks/sums.py@sums"}


def built(benchmark: Any, samples: int = 1, **guard: Any) -> Any:
    guards = [{"on": "b", **guard}] if guard else []
    values = {"name": "m", "gate": {"rules": {"guards": guards}}}
    return build_recipe({**values, "evaluation": {"benchmarks": {"b": benchmark}, "samples": samples}}, "recipe")


def test_a_benchmark_is_a_path_or_a_section_of_its_kind() -> None:
    assert built("b.jsonl").evaluation.benchmarks == {"b": "b.jsonl"}
    assert built(GSM).evaluation.benchmarks == {"b": LmEval(kind="lm_eval", task="gsm8k", limit=200)}
    assert built(SUMS).evaluation.benchmarks == {"b": Inspect(kind="inspect", task="tasks/sums.py@sums")}
    assert built(SUMS).evaluation.benchmarks["b"].file == "tasks/sums.py"


def test_a_recipe_survives_being_written_out() -> None:
    recipe = built(GSM)
    assert build_recipe(recipe.model_dump(mode="json"), "recipe") == recipe


@pytest.mark.parametrize(
    ("benchmark", "complaint"),
    [
        ({"kind": "helm", "task": "x"}, "evaluation.benchmarks.b: a benchmark is the path of a JSONL file, or a section"),
        ({"task": "x"}, "a section with kind lm_eval or inspect"),
        ({**GSM, "shots": 3}, "evaluation.benchmarks.b.shots: unknown key"),
        ({**GSM, "limit": 0}, "evaluation.benchmarks.b.limit: "),
        ({"kind": "lm_eval"}, "evaluation.benchmarks.b.task: "),
        ({**SUMS, "task": "tasks/sums.py"}, "is not FILE.py@NAME"),
        ({**SUMS, "task": "sums@sums"}, "is not FILE.py@NAME"),
    ],
)
def test_what_is_no_benchmark_is_refused(benchmark: Any, complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint):
        built(benchmark)


@pytest.mark.parametrize(
    ("benchmark", "guard"),
    [
        (GSM, {"measure": "accuracy", "margin": 0.1}),
        (GSM, {"measure": "length", "max_ratio": 1.5}),  # whether this task has the model write is known later
        (SUMS, {"measure": "pass@2", "margin": 0.1}),
        ("b.jsonl", {"measure": "kl", "max": 9.0}),
    ],
)
def test_guards_on_what_a_benchmark_may_have(benchmark: Any, guard: dict[str, Any]) -> None:
    assert built(benchmark, samples=2, **guard).gate.rules.guards[0].on == "b"


@pytest.mark.parametrize("benchmark", [GSM, SUMS])
@pytest.mark.parametrize(
    "guard",
    [
        {"measure": "kl", "max": 9.0},
        {"measure": "format_rate", "margin": 0.1},
        {"measure": "accuracy_lenient", "margin": 0.1},
        {"measure": "greedy_accuracy", "margin": 0.1},
        {"measure": "reward", "margin": 0.1},
        {"measure": "maj@2", "margin": 0.1},
    ],
)
def test_guards_on_what_a_librarys_task_never_has_are_refused(benchmark: Any, guard: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="which a library's task does not provide; it provides accuracy"):
        built(benchmark, samples=2, **guard)


def test_lm_eval_answers_once_so_that_pass_at_k_is_refused_there() -> None:
    with pytest.raises(RecipeError, match="does not provide"):
        built(GSM, samples=2, measure="pass@2", margin=0.1)
