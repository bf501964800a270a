"""Tasks of lm-eval and inspect_ai as benchmarks of both arms: figures, keys, guards, refusals."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.errors import DataError, RecipeError
from ratchet.components.evaluation.benchmarks.tasks import (
    library_digest,
    require_libraries,
    require_library,
    require_same_items,
    task_files,
)
from ratchet.components.gate.judge import read_places
from ratchet.components.policy.loading import save_policy
from ratchet.components.recipe import Evaluation, Inspect, LmEval, build_recipe
from ratchet.components.records import ItemResult
from ratchet.components.stages.evaluate import EvaluateStage, dev_evaluation
from ratchet.components.stages.results import PolicyStage
from ratchet.components.stages.scoring import Models
from ratchet.components.stages.sealed import SealedStage
from ratchet.components.storage.files import tree_digests
from ratchet.components.storage.store import Finished
from tests.evaluation.benchmarks.library_tasks import CHOOSING, ROWS, WRITING, inspect_file, lm_eval_folder
from tests.gate.staged import Project, ids
from tests.tiny_models import tiny_policy


class Evaluated:
    """Two tiny policies that meet the benchmarks below a folder; dev has 100 items of one letter."""

    def __init__(self, path: Path, samples: int = 1, guards: Any = ()) -> None:
        folder = lm_eval_folder(path / "tasks", "sums", WRITING)
        lm_eval_folder(path / "tasks", "choices", CHOOSING)
        benchmarks = {
            "writing": {"kind": "lm_eval", "task": "sums", "tasks_folder": folder},
            "choosing": {"kind": "lm_eval", "task": "choices", "tasks_folder": folder},
            "inspected": {"kind": "inspect", "task": f"{inspect_file(path)}@sums"},
        }
        self.project = Project(path, evaluation={"benchmarks": benchmarks, "samples": samples}, guards=list(guards))
        values = self.project.context.recipe.model_dump(mode="json") | {"device": "cpu", "policy": {"max_new_tokens": 8}}
        self.project.context = replace(self.project.context, recipe=build_recipe(values, "test"))
        self.models = Models(self.saved(1), self.saved(0), self.saved(0))

    def saved(self, seed: int) -> PolicyStage:
        folder = self.project.path / f"policy-{seed}"
        if not folder.exists():
            save_policy(tiny_policy(seed=seed), folder / "model")
        return PolicyStage(Finished("policy", "", folder, {"files": tree_digests(folder)}), False, 0.0)

    def run(self) -> EvaluateStage:
        return dev_evaluation(self.project.context, self.project.data, self.models)


def test_both_arms_meet_the_same_items_and_only_what_was_measured_is_shown(tmp_path: Path) -> None:
    evaluated = Evaluated(tmp_path, samples=2)
    details = evaluated.run().details
    arms = ["challenger_sampled", "incumbent_sampled"]
    assert {name: sorted(figures) for name, figures in details.items()} == {
        f"benchmark {name}": arms for name in ("writing", "choosing", "inspected")
    }
    for arm in arms:
        assert list(details["benchmark choosing"][arm]) == ["accuracy"]
        assert list(details["benchmark writing"][arm]) == ["accuracy", "diversity", "length"]
        assert list(details["benchmark inspected"][arm]) == ["accuracy", "diversity", "length", "pass@2"]
        assert details["benchmark inspected"][arm]["accuracy"]["value"] == pytest.approx(1 / 3)  # one of three is even
    counts = {name: figures[arms[0]]["accuracy"]["n"] for name, figures in details.items()}
    assert counts == {"benchmark writing": 3, "benchmark choosing": 3, "benchmark inspected": 6}


def test_a_second_run_is_unchanged_and_a_changed_task_is_answered_again(tmp_path: Path) -> None:
    evaluated = Evaluated(tmp_path)
    assert not evaluated.run().cached
    assert evaluated.run().cached
    lm_eval_folder(tmp_path / "tasks", "sums", WRITING, ROWS[:2])
    changed = evaluated.run()
    assert not changed.cached
    assert changed.details["benchmark writing"]["challenger_sampled"]["accuracy"]["n"] == 2


def test_guards_judge_a_librarys_items_whatever_the_samples(tmp_path: Path) -> None:
    guards = [{"measure": "accuracy", "on": name, "margin": 0.5} for name in ("writing", "choosing", "inspected")]
    evaluated = Evaluated(tmp_path, samples=2, guards=[*guards, {"measure": "length", "on": "writing", "max_ratio": 2.0}])
    expected = evaluated.models.digests
    sealed_items = ids(5000, 20)
    sealed = evaluated.project.scored(SealedStage, sealed_items, 9, 8, expected["challenger"], expected["incumbent"])
    faults, places = read_places(evaluated.project.context.recipe, sealed, evaluated.run(), sealed_items, expected)
    assert [fault for fault in faults if not fault.startswith("20 of 20")] == []  # the sealed rows have one sample each
    assert {name: places[name].pair("accuracy")[0].shape for name in ("writing", "choosing", "inspected")} == {
        "writing": (3, 1),
        "choosing": (3, 1),
        "inspected": (3, 2),
    }


def test_a_guard_on_what_the_task_did_not_give_is_refused_each_time(tmp_path: Path) -> None:
    evaluated = Evaluated(tmp_path, guards=[{"measure": "length", "on": "choosing", "max_ratio": 1.5}])
    for _ in range(2):  # from the store as well
        with pytest.raises(RecipeError, match="'length' of the benchmark 'choosing', whose task generates no text"):
            evaluated.run()


def test_a_benchmark_is_its_section_and_its_files(tmp_path: Path) -> None:
    folder = lm_eval_folder(tmp_path / "tasks", "sums", WRITING)
    one = LmEval(kind="lm_eval", task="sums", tasks_folder=folder)
    known = library_digest("b", one)
    (tmp_path / "tasks" / "__pycache__").mkdir()
    (tmp_path / "tasks" / "__pycache__" / "sums.pyc").write_text("x")
    assert library_digest("b", one) == known
    assert library_digest("b", one.model_copy(update={"limit": 2})) != known
    (tmp_path / "tasks" / "helper.py").write_text("x = 1")
    assert library_digest("b", one) != known


def test_files_that_an_inspect_task_reads_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text("[]")
    one = Inspect(kind="inspect", task=f"{inspect_file(tmp_path)}@sums", files=[str(tmp_path / "rows.json")])
    known = library_digest("b", one)
    (tmp_path / "rows.json").write_text("[1]")
    assert library_digest("b", one) != known


@pytest.mark.parametrize(
    ("benchmark", "complaint"),
    [
        (Inspect(kind="inspect", task="none.py@x"), "no file none.py. Correct evaluation.benchmarks.b.task"),
        (LmEval(kind="lm_eval", task="x", tasks_folder="none"), "no file none. Correct evaluation.benchmarks.b.tasks_folder"),
    ],
)
def test_a_file_that_is_not_there_is_named(benchmark: LmEval | Inspect, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        task_files("b", benchmark)
    with pytest.raises(DataError, match=complaint):
        require_libraries(Evaluation(benchmarks={"b": benchmark}))


def test_a_task_that_asks_the_models_different_items_is_refused() -> None:
    one = ItemResult("a", "p", "", True, 1.0, None, None, None)
    require_same_items("b", [one], [replace(one, passed=False)])
    with pytest.raises(DataError, match="benchmark b asked the two models different items"):
        require_same_items("b", [one], [replace(one, prompt="q")])


GSM = LmEval(kind="lm_eval", task="gsm8k")
SUMS = Inspect(kind="inspect", task="sums.py@sums")


@pytest.mark.parametrize(("benchmark", "module", "extra"), [(GSM, "lm_eval", "lm-eval"), (SUMS, "inspect_ai", "inspect")])
def test_a_missing_library_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, benchmark: LmEval | Inspect, module: str, extra: str
) -> None:
    require_library("b", benchmark)
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(RecipeError, match=rf"benchmark b needs {module}, .* pip install 'ratchet-rl\[{extra}\]'"):
        require_library("b", benchmark)
