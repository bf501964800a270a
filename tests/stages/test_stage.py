"""What a run has seen it does not look at again."""

import hashlib
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.recipe import load_recipe
from ratchet.components.run.repeats import FinishedStages, finished_stages
from ratchet.components.stages import data, gold, reward, train, warmup
from ratchet.components.stages.results import ValidationReport, WarmupStage
from ratchet.components.stages.stage import Context, NotFinished, Seen, Stage, finish
from ratchet.components.stages.train import TrainingFacts
from ratchet.components.storage.files import write_json, write_json_lines, write_text
from ratchet.components.storage.home import Home
from tests.places import MICRO

POINTER = f"outs:\n- md5: {'0' * 32}.dir\n  path: data\n"


def write_policy(path: Path) -> None:
    write_text(path / "model" / "model.safetensors", path.parent.name)


def write_reward(path: Path) -> None:
    write_json(path / "report.json", asdict(ValidationReport("verifier", True, [], {}, "", [], {}, {}, {}, {})))


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A recipe with a start model and rows of its own, whose stages are written by hand."""
    monkeypatch.chdir(tmp_path)
    write_policy(tmp_path / "base")
    write_json_lines(tmp_path / "rows.jsonl", [{"prompt": "p"}])

    def train_nothing(*arguments: Any) -> TrainingFacts:
        write_policy(arguments[-1])
        return TrainingFacts("grpo", 4, 0, 0, None, None, True, {})

    monkeypatch.setattr(data, "_build", lambda context, path, added: write_text(path / "data.dvc", POINTER))
    monkeypatch.setattr(warmup, "_copy_model", lambda context, path: write_policy(path))
    found = {"checks": [], "mutation_score": None, "reads_answers": True}
    monkeypatch.setattr(gold, "_build", lambda context, data, path: write_json(path / "report.json", found))
    monkeypatch.setattr(reward, "_build", lambda context, data, start, gold, key, path: write_reward(path))
    monkeypatch.setattr(train, "_train", train_nothing)
    overrides = ["data.source={kind: jsonl, path: rows.jsonl}", f"policy.model={tmp_path / 'base' / 'model'}"]
    return Context(load_recipe(MICRO, overrides), Home(tmp_path, tmp_path / ".ratchet"))


def all_stages(context: Context) -> FinishedStages:
    dataset = data.prepare_data(context)
    judged = gold.validated_gold(context, dataset)
    start = warmup.starting_policy(context, dataset)
    validated = reward.validated_reward(context, dataset, start, judged)
    return FinishedStages(dataset, judged, start, validated, train.trained_candidate(context, dataset, start, validated))


def test_a_run_hashes_each_file_once_when_it_looks_whether_all_is_finished_and_then_at_each_stage(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = all_stages(context)
    hashed: Counter[str] = Counter()
    real = hashlib.file_digest

    def counted(file: Any, name: str) -> Any:
        hashed[str(Path(file.name).absolute())] += 1
        return real(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    again = replace(context, seen=Seen())
    looked = finished_stages(again)
    assert looked is not None
    taken = all_stages(again)
    stored = {str(stage.path / name) for stage in made.all for name in stage.files}
    outside = {str(again.home.project / name) for name in ("base/model/model.safetensors", "rows.jsonl")}
    assert stored | outside <= hashed.keys()
    assert set(hashed.values()) == {1}
    assert [a is b for a, b in zip(looked.all, taken.all, strict=True)] == [True] * 5


def test_a_stage_that_this_run_made_is_cached_at_the_next_look(context: Context) -> None:
    assert [stage.cached for stage in all_stages(context).all] == [False] * 5
    assert [stage.cached for stage in all_stages(context).all] == [True] * 5


def test_what_was_seen_counts_only_while_it_is_there(context: Context) -> None:
    made = all_stages(context)
    made.start.path.rename(context.home.project / "elsewhere")
    with pytest.raises(NotFinished, match="warmup"):
        warmup.starting_policy(replace(context, compute=False), made.data)


def test_what_only_another_run_saw_is_verified_again(context: Context) -> None:
    made = all_stages(context)
    write_text(made.start.path / "model" / "model.safetensors", "damaged")
    with pytest.raises(NotFinished, match="warmup"):
        warmup.starting_policy(replace(context, compute=False, seen=Seen()), made.data)


def test_what_write_returns_becomes_the_stages_facts(context: Context) -> None:
    stage = finish(context, WarmupStage, "k", lambda path: {"loss": 0.5})
    assert (stage.path / "facts.json").read_text(encoding="utf-8") == '{\n  "loss": 0.5\n}\n'
    assert stage.as_json() == {"name": "warmup", "key": "k", "cached": False, "seconds": round(stage.seconds, 2)}


def test_the_stages_up_to_training_are_those_that_make_a_candidate() -> None:
    assert Stage.TRAIN.up_to() == (Stage.DATA, Stage.GOLD, Stage.WARMUP, Stage.CHAMPION, Stage.REWARD, Stage.TRAIN)
