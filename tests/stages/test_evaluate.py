"""Both arms on dev and on benchmark files: figures by place, arm and decoding, and what makes them other figures.

Benchmarks that are a library's tasks: tests/evaluation/benchmarks/test_tasks.py.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.errors import DataError
from ratchet.components.records import Arm, Decoding, rows_name
from ratchet.components.stages import evaluate as module
from ratchet.components.stages.evaluate import EvaluateStage, dev_evaluation
from ratchet.components.stages.scoring import Models
from ratchet.components.storage.files import write_json_lines
from tests.stages.by_hand import context_of, data_stage, key_of_look, policy_stage, reward_stage, saved_policy

ARMS = [rows_name(arm, decoding) for arm in Arm for decoding in Decoding]
SHORT = "policy.max_new_tokens=4"


@pytest.fixture
def key(tmp_path: Path) -> Callable[..., str]:
    data, reward = data_stage(tmp_path / "version"), reward_stage(tmp_path / "reward")

    def look(*overrides: str, **changes: Any) -> str:
        names = {"challenger": policy_stage("c"), "incumbent": policy_stage("i"), "start": policy_stage("s"), "reward": reward}
        models = Models(**(names | {name: stage for name, stage in changes.items() if name != "data"}))
        given = changes.get("data", data)
        return key_of_look(context_of(tmp_path, *overrides), lambda context: dev_evaluation(context, given, models))

    return look


RELEVANT = (
    *("evaluation.temperature=0.5", "evaluation.samples=3", "evaluation.slices=[{name: s, prompt: x}]"),
    *("policy.max_new_tokens=9", "seed=4", "device=auto", "graders.right.form=lenient", "reward.verifier.form=strict"),
)


@pytest.mark.parametrize("change", RELEVANT)
def test_what_shapes_the_answers_is_in_its_key(key: Callable[..., str], change: str) -> None:
    assert key(change) != key()


def test_each_input_is_in_its_key(tmp_path: Path, key: Callable[..., str]) -> None:
    changes: list[dict[str, Any]] = [{arm: policy_stage("other")} for arm in ("challenger", "incumbent", "start")]
    changes += [{"reward": None}, {"data": data_stage(tmp_path / "other", version="f" * 32)}]
    assert len({key(), *(key(**change) for change in changes)}) == 6


def test_what_does_not_touch_the_answers_is_not_in_its_key(key: Callable[..., str]) -> None:
    elsewhere = ["name=other", "train.lr=1e-5", "gate.rules.floor=0.1", "evaluation.dev_items=9", "evaluation.sample_rows=9"]
    assert key(*elsewhere) == key()


def benchmark(file: Path, *numbers: int) -> str:
    """A benchmark file of sums, as an override of the recipe."""
    write_json_lines(file, [{"question": f"Add {n} and 1.", "answer": f"#### {n + 1}"} for n in numbers])
    return f"evaluation.benchmarks={{sums: {file}}}"


def test_a_benchmark_is_in_its_key_by_name_and_content_and_not_by_place(tmp_path: Path, key: Callable[..., str]) -> None:
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    before = key(benchmark(here, 1, 2))
    assert key(benchmark(there, 1, 2)) == before
    assert len({before, key(), key(benchmark(there, 1, 3)), key(benchmark(here, 1, 2).replace("sums", "other"))}) == 4


def test_the_recipes_task_asks_a_benchmark_and_is_in_its_key(tmp_path: Path, key: Callable[..., str]) -> None:
    (tmp_path / "rows.jsonl").touch()
    benchmarks, rows = benchmark(tmp_path / "a", 1), f"data.source={tmp_path / 'rows.jsonl'}"
    asks = ["task.prompt='Sum: {{item.question}}'", "task.prompt='Add: {{item.question}}'"]
    assert len({key(benchmarks, rows), *(key(benchmarks, rows, ask) for ask in asks)}) == 3
    assert len({key(rows), *(key(rows, ask) for ask in asks)}) == 1  # the dataset's version says what its rows ask
    recipe = context_of(tmp_path, benchmarks, rows, asks[0]).recipe
    (jobs, _) = module._benchmark_jobs("sums", recipe.evaluation.benchmarks["sums"], recipe)
    assert [row["prompt"][:5] for row in jobs.rows] == ["Sum: "]


def test_a_benchmark_file_that_is_not_there_is_refused_before_anything_is_scored(key: Callable[..., str]) -> None:
    with pytest.raises(DataError, match=r"sums: .*gone\.jsonl.* evaluation\.benchmarks\.sums"):
        key("evaluation.benchmarks={sums: gone.jsonl}")


class Dev:
    """Two tiny policies before two dev items."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.data = data_stage(place / "version", dev=2)
        start = saved_policy(place / "start", seed=0)
        self.models = Models(saved_policy(place / "challenger", seed=1), start, start)

    def run(self, *overrides: str, home: str = "") -> EvaluateStage:
        return dev_evaluation(context_of(self.place / home, SHORT, *overrides), self.data, self.models)


@pytest.fixture
def dev(tmp_path: Path) -> Dev:
    return Dev(tmp_path)


def test_figures_on_dev_are_by_arm_and_decoding(dev: Dev) -> None:
    made = dev.run("evaluation.samples=3")
    assert sorted(made.summary) == sorted(ARMS)
    assert {name: figures["accuracy"]["n"] for name, figures in made.summary.items()} == {
        rows_name(arm, decoding): 2 * samples
        for arm in Arm
        for decoding, samples in ((Decoding.SAMPLED, 3), (Decoding.GREEDY, 1))
    }
    lengths = [result.length or 0 for result in made.results()["challenger_greedy"]]
    assert made.summary["challenger_greedy"]["length"]["value"] == sum(lengths) / 2
    assert made.details == {}


def test_benchmarks_and_slices_have_figures_of_their_own(dev: Dev) -> None:
    slices = "evaluation.slices=[{name: zero, prompt: 'Add 0'}, {name: none, prompt: nowhere}]"
    made = dev.run(benchmark(dev.place / "sums.jsonl", 1, 2, 3), slices)
    counts = {place: {name: figures["accuracy"]["n"] for name, figures in arms.items()} for place, arms in made.details.items()}
    assert counts == {
        place: dict.fromkeys(ARMS, n) for place, n in (("benchmark sums", 3), ("slice zero", 1), ("slice none", 0))
    }
    assert list(made.results("benchmarks/sums")) == ARMS


def test_a_gold_of_labels_has_a_confusion_matrix_and_the_measures_of_all_items(dev: Dev) -> None:
    rows = dev.data.table("dev")
    labels = [*(row["answer"] for row in rows), "other"]
    made = dev.run("graders.right={type: label, labels: " + json.dumps(labels) + "}")
    assert sorted(made.confusion) == sorted(ARMS)
    for arm in ARMS:
        assert made.confusion[arm]["labels"] == labels
        assert [sum(counts) for counts in made.confusion[arm]["counts"]] == [1, 1, 0]
        assert {"macro_f1", "mcc", "balanced_accuracy"} <= made.summary[arm].keys()
    assert [result.expected for result in made.results()["challenger_sampled"]] == labels[:2]


def test_another_gold_has_no_confusion_matrix(dev: Dev) -> None:
    assert dev.run().confusion == {}


def test_what_is_not_known_is_null(dev: Dev) -> None:
    made = dev.run("evaluation.slices=[{name: none, prompt: nowhere}]")
    assert made.details["slice none"]["challenger_sampled"]["accuracy"]["value"] is None
    assert "NaN" not in json.dumps(made.details)


def test_the_draws_follow_the_recipes_seed(dev: Dev) -> None:
    first, again, other = (
        dev.run(seed, home=home).results() for seed, home in (("seed=3", "a"), ("seed=3", "b"), ("seed=4", "c"))
    )
    assert first == again
    assert first["challenger_sampled"] != other["challenger_sampled"]
    assert first["challenger_greedy"] == other["challenger_greedy"]


def test_a_finished_evaluation_is_found_without_loading_a_model(dev: Dev) -> None:
    made = dev.run()
    (dev.models.challenger.model / "model.safetensors").unlink()
    found = dev.run("train.lr=1e-5")
    assert (found.cached, found.digest) == (True, made.digest)
