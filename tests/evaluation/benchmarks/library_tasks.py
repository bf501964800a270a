"""Tasks of both libraries that need no network, written into a folder."""

import json
from pathlib import Path
from typing import Any

import yaml

ROWS = [{"question": f"{n} + {n} =", "answer": str(2 * n), "level": n} for n in (1, 2, 3)]
WRITING: dict[str, Any] = {
    "output_type": "generate_until",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 6},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}
CHOOSING: dict[str, Any] = {
    "output_type": "multiple_choice",
    "doc_to_choice": ["yes", "no"],
    "doc_to_target": 0,
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}
INSPECT = """
from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import Score, accuracy, includes, scorer
from inspect_ai.solver import generate, system_message

DATA = MemoryDataset([Sample(input=f"{n} + {n} =", target=str(2 * n), metadata={"level": n}) for n in (1, 2, 3)])


@scorer(metrics=[accuracy()])
def even():
    async def score(state, target):
        return Score(value="C" if state.metadata["level"] == 2 else "I")

    return score


@scorer(metrics=[accuracy()])
def points():
    async def score(state, target):
        return Score(value=37.5)

    return score


@task
def sums():
    return Task(dataset=DATA, solver=generate(), scorer=[even(), includes(), points()], config=GenerateConfig(max_tokens=6))


@task
def with_system():
    return Task(dataset=DATA, solver=[system_message("Add."), generate()], scorer=even(), config=GenerateConfig(top_k=3))
"""


def lm_eval_folder(folder: Path, name: str, options: dict[str, Any], rows: list[dict[str, Any]] = ROWS) -> str:
    """A folder with one YAML task over a JSONL; the cache of datasets lies beside it."""
    folder.mkdir(exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    kwargs = {"data_files": {"test": str(folder / "rows.jsonl")}, "cache_dir": str(folder.parent / "datasets")}
    task = {"task": name, "dataset_path": "json", "dataset_kwargs": kwargs, "test_split": "test", "doc_to_text": "{{question}}"}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({**task, **options}), encoding="utf-8")
    return str(folder)


def inspect_file(folder: Path) -> str:
    """A file with two tasks."""
    (folder / "sums.py").write_text(INSPECT, encoding="utf-8")
    return str(folder / "sums.py")
