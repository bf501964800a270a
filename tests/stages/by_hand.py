"""Finished stages made by hand, and the key under which a stage is looked for."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from ratchet.components.policy.loading import save_policy
from ratchet.components.recipe import load_recipe
from ratchet.components.stages.results import DataStage, GoldStage, PolicyStage, RewardStage, ValidationReport
from ratchet.components.stages.stage import Context, NotFinished
from ratchet.components.storage.digests import file_digest
from ratchet.components.storage.files import tree_digests, write_json, write_json_lines, write_text
from ratchet.components.storage.home import Home
from ratchet.components.storage.store import Finished, Store
from tests.places import MICRO
from tests.tiny_models import tiny_policy

POINTER = "outs:\n- md5: {}.dir\n  path: data\n"
REPORT = ValidationReport("verifier", True, [], {}, "", [], {}, {}, {}, {"k": 6})


class Watching:
    """An observer that remembers what it was told."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int, int]] = []
        self.notes: list[str] = []
        self.points: list[tuple[int, Mapping[str, float]]] = []
        self.repeated: list[tuple[int, Mapping[str, float]]] = []
        self.tables: list[int] = []
        self.phases: list[str] = []

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        self.steps.append((stage, done, total))
        self.notes.append(note)

    def phase(self, name: str) -> AbstractContextManager[None]:
        self.phases.append(name)
        return nullcontext()

    def metrics(self, stage: str, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        self.points += points

    def resumed(self, stage: str, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        self.repeated += points

    def samples(self, stage: str, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        self.tables.append(step)


def context_of(place: Path, *overrides: str) -> Context:
    """The micro recipe with overrides, in a project below ``place``."""
    return Context(load_recipe(MICRO, overrides), Home(place, place / ".ratchet"), Watching())


def watching(context: Context) -> Watching:
    assert isinstance(context.observer, Watching)
    return context.observer


def problem(number: int) -> dict[str, str]:
    """A row of a table."""
    answer = f"#### {number + 3}"
    return {"id": f"{number:016x}", "prompt": f"Add {number} and 3.", "answer": answer, "demonstration": answer}


def data_stage(place: Path, version: str = "0" * 32, **tables: int) -> DataStage:
    """A dataset version with so many problems in each of these tables."""
    (place / "data").mkdir(parents=True)
    for number, (name, rows) in enumerate(tables.items()):
        write_json_lines(place / "data" / f"{name}.jsonl", [problem(1000 * number + n) for n in range(rows)])
    write_text(place / "data.dvc", POINTER.format(version))
    return DataStage(Finished("data", version, place, {"files": tree_digests(place)}), True, 0.0)


def policy_stage(weights: str) -> PolicyStage:
    """A policy of which there is nothing but its weights' digest, which stands for its own as well."""
    stage = PolicyStage(Finished("policy", "", Path(), {"files": {"model/model.safetensors": weights}}), True, 0.0)
    stage.__dict__["policy_digest"] = weights
    return stage


def saved_policy(place: Path, seed: int = 0, vocabulary: int = 300) -> PolicyStage:
    """A tiny random policy."""
    save_policy(tiny_policy(seed, vocabulary=vocabulary), place / "model")
    return PolicyStage(Finished("policy", "", place, {"files": tree_digests(place)}), True, 0.0)


def gold_stage(place: Path, score: float | None = 1.0) -> GoldStage:
    """A gold in which nothing was found wrong."""
    place.mkdir(parents=True)
    write_json(place / "report.json", {"checks": [], "mutation_score": score, "reads_answers": True})
    return GoldStage(Finished("gold", "", place, {"files": {"report.json": file_digest(place / "report.json")}}), True, 0.0)


def reward_stage(place: Path, **changes: Any) -> RewardStage:
    """A validated reward without a learned part, whose pilot advises six samples per prompt."""
    write_json(place / "report.json", asdict(replace(REPORT, **changes)))
    return RewardStage(Finished("reward", "", place, {"files": {"report.json": file_digest(place / "report.json")}}), True, 0.0)


def key_of_look(context: Context, look: Callable[[Context], object]) -> str:
    """The key under which a stage is looked for in an empty store."""
    keys: list[str] = []
    with patch.object(Store, "find", lambda _, name, key: keys.append(key)), pytest.raises(NotFinished):
        look(replace(context, compute=False))
    (key,) = keys
    return key
