"""The steps before and after a reproduction's training; the whole is tests/flows/cli/test_reproduce.py."""

import contextlib
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ratchet.components.code import source_code
from ratchet.components.code.constraints import lock_digest
from ratchet.components.data.pointers import added_rows, pinned_version, place_of
from ratchet.components.errors import RegistryError
from ratchet.components.provenance import rebuild
from ratchet.components.provenance.lineage import StageManifest
from ratchet.components.provenance.rebuild import Rebuild, check_ranks, commit_dataset, inner_path, rebuilt_in
from ratchet.components.recipe import Policy
from ratchet.components.storage.digests import file_digest
from ratchet.components.storage.files import write_json_lines
from ratchet.components.storage.home import Home
from ratchet.components.storage.store import Store
from tests.provenance.records import ONE, TWO, lineage
from tests.provenance.repository import git, new_repository

RECIPE = {"name": "m", "threads": 1, "policy": {"start": "champion", "model": None, "revision": "r"}, "train": {}}


class FakeTracker:
    """Hands out one model directory."""

    def download(self, name: str, version: str, target: Path) -> Path:
        target.mkdir()
        (target / "model.safetensors").write_text(f"{name} {version}", encoding="utf-8")
        return target


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project = new_repository(tmp_path / "project")
    monkeypatch.setattr(source_code, "ROOT", project / "components")
    return project


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def reproduction(project: Path, **changes: Any) -> Rebuild:
    code = {
        **lineage().code.model_dump(),
        "commit": git(project, "rev-parse", "HEAD"),
        "sources_sha256": source_code.sources_digest.__wrapped__(),
    }
    record = lineage(**{"code": code, "recipe": RECIPE, "lock_sha256": lock_digest(project), **changes})
    folder = project.parent / "work"
    folder.mkdir()
    home = Home(project, project / ".ratchet")
    nothing = contextlib.nullcontext()
    return Rebuild(home, FakeTracker(), "3", record, folder, "lock", nothing, lambda text: None)  # type: ignore[arg-type]


def test_a_version_of_other_code_than_its_commits_is_refused(project: Path) -> None:
    work = reproduction(project, code={**lineage().code.model_dump(), "commit": git(project, "rev-parse", "HEAD")})
    with pytest.raises(RegistryError, match=r"version 3 .* the code that ran was not that of commit .*--set seed=4"):
        work.run(0.0)
    assert not work.code.exists()


def test_a_version_of_another_lock_than_its_commits_is_refused(project: Path) -> None:
    with pytest.raises(RegistryError, match=r"constraints.txt was not that of commit"):
        reproduction(project, lock_sha256=ONE).run(0.0)


def test_a_version_from_uncommitted_code_is_refused_before_anything_is_done(project: Path) -> None:
    code = {**lineage().code.model_dump(), "changed": ["flows/x.py"], "diff_sha256": ONE}
    work = reproduction(project, code=code)
    with pytest.raises(RegistryError, match="uncommitted code"):
        work.run(0.0)
    assert list(work.folder.iterdir()) == []


@pytest.mark.parametrize("commit", ["unknown", "0" * 40])
def test_what_the_record_and_the_repository_decide_comes_before_what_could_be_installed(
    project: Path, monkeypatch: pytest.MonkeyPatch, commit: str
) -> None:
    def absent() -> None:
        raise RegistryError("uv is not installed.")

    monkeypatch.setattr(rebuild, "require_uv", absent)
    with pytest.raises(RegistryError, match=r"outside a git checkout|git fetch"):
        reproduction(project, code={**lineage().code.model_dump(), "commit": commit}).run(0.0)


def test_a_commit_that_is_not_here_says_to_fetch_it(project: Path) -> None:
    with pytest.raises(RegistryError, match="git fetch"):
        reproduction(project, code={**lineage().code.model_dump(), "commit": "0" * 40}).run(0.0)


def test_files_beside_the_code_come_from_the_project_by_hash(project: Path) -> None:
    (project / "rows.jsonl").write_text("rows", encoding="utf-8")
    work = reproduction(project, files={"rows.jsonl": file_digest(project / "rows.jsonl")})
    work._bring_files()
    assert (work.project / "rows.jsonl").read_text(encoding="utf-8") == "rows"


def test_faults_a_source_that_changed_since_its_commit_comes_from_the_project(project: Path) -> None:
    work = reproduction(project, files={"rows.jsonl": file_digest(write(project / "rows.jsonl", "grown"))})
    write(work.project / "rows.jsonl", "as committed")
    work._bring_files()
    assert (work.project / "rows.jsonl").read_text(encoding="utf-8") == "grown"


def test_a_file_that_was_edited_since_is_refused(project: Path) -> None:
    (project / "rows.jsonl").write_text("edited", encoding="utf-8")
    with pytest.raises(RegistryError, match="not the file that the recipe named"):
        reproduction(project, files={"rows.jsonl": ONE})._bring_files()


def test_every_process_of_a_rebuild_finds_the_commits_code_and_no_other(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/todays/code")
    work = reproduction(project)
    write(work.project / "ratchet" / "__init__.py", "")
    write(work.project / "ratchet" / "__main__.py", "import json, os; print(json.dumps(dict(os.environ)))")
    found = work._ratchet(Path(sys.executable), "train")
    assert found["PYTHONPATH"] == str(work.project)  # ranks do not look into the folder where they are


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x"])
def test_a_path_out_of_the_project_is_refused(name: str) -> None:
    with pytest.raises(RegistryError, match="leads out"):
        inner_path(name)


def test_a_parent_comes_in_as_an_existing_model(project: Path, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("m 2", encoding="utf-8")
    policy = {"kind": "version", "version": "2", "weights_sha256": file_digest(tmp_path / "weights")}
    work = reproduction(project, policy=policy)
    written = yaml.safe_load(work._write_recipe().read_text(encoding="utf-8"))["policy"]
    assert written == {"start": "base", "model": str(work.folder / "parent"), "revision": None}


@pytest.mark.parametrize("warmup", [{"steps": 9, "batch": 2, "lr": 1e-3}, {"max_tokens": 64, "lora": {"rank": 2}}])
def test_a_parent_that_comes_in_as_a_model_is_not_fine_tuned(project: Path, tmp_path: Path, warmup: dict[str, Any]) -> None:
    (tmp_path / "weights").write_text("m 2", encoding="utf-8")
    policy = {"kind": "version", "version": "2", "weights_sha256": file_digest(tmp_path / "weights")}
    recipe = {**RECIPE, "policy": {"start": "champion", "model": "m", "warmup": warmup}}
    written = reproduction(project, recipe=recipe, policy=policy)._write_recipe().read_text(encoding="utf-8")
    assert Policy.model_validate(yaml.safe_load(written)["policy"]).tuning is None


def test_what_memory_decided_is_given_to_the_rebuild(project: Path) -> None:
    recipe = {**RECIPE, "train": {"micro_tokens": "auto", "lr": 1.0}}
    work = reproduction(project, recipe=recipe, memory={"micro_tokens": 2048, "offload": False})
    written = yaml.safe_load(work._write_recipe().read_text(encoding="utf-8"))["train"]
    assert written == {"micro_tokens": 2048, "offload": False, "lr": 1.0}


def test_as_many_ranks_train_again_on_this_machine(project: Path) -> None:
    written = {"kind": "torchrun", "workers": 8, "nodes": 2, "address": "trainer-0:29500"}
    trained = {"kind": "torchrun", "ranks": 4, "sharded": True}  # as the store has it
    work = reproduction(project, recipe={**RECIPE, "launch": written}, launch=trained)
    again = yaml.safe_load(work._write_recipe().read_text(encoding="utf-8"))["launch"]
    assert again == {"kind": "torchrun", "workers": 4, "weights": "sharded"}


def test_what_one_process_trained_one_process_trains_again(project: Path) -> None:
    work = reproduction(project, recipe={**RECIPE, "launch": {"kind": "process"}})
    assert yaml.safe_load(work._write_recipe().read_text(encoding="utf-8"))["launch"] == {}


def test_more_ranks_than_this_machine_has_gpus_are_refused() -> None:
    check_ranks(4, 4, "version 3 of m")
    with pytest.raises(RegistryError, match=r"version 3 of m was trained by 4 ranks, .* this machine has 2\. .* one with 4"):
        check_ranks(4, 2, "version 3 of m")


def test_a_parent_with_other_weights_is_refused(project: Path) -> None:
    policy = {"kind": "version", "version": "2", "weights_sha256": TWO}
    with pytest.raises(RegistryError, match="Restore the parent's artifact"):
        reproduction(project, policy=policy)._write_recipe()


def test_a_restored_dataset_is_the_stage_that_it_was(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text("{}\n", encoding="utf-8")
    commit_dataset(Store(tmp_path / "store"), StageManifest(name="data", key="a" * 32, files={}), tmp_path / "data", "outs\n")
    found = Store(tmp_path / "store").find("data", "a" * 32)
    assert found is not None
    assert set(found.facts["files"]) == {"data/train.jsonl", "data.dvc"}


ADDED = f"outs:\n- md5: {'d' * 32}.dir\n  path: data\nmeta:\n  recipe_data: r\n  added: 2\n"


def restoring(work: Rebuild, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DVC cache that has the version."""

    def restore(version: str, workspace: Path, state: Path, project: Path) -> Path:
        return write(workspace / "data" / "train.jsonl", version).parent

    work.project.mkdir(parents=True)
    monkeypatch.setattr("ratchet.components.data.versioning.restore", restore)


def test_faults_the_checkout_is_pinned_to_the_recorded_pointer(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = reproduction(project, dataset={"md5": "d" * 32 + ".dir", "pointer": ADDED})
    restoring(work, monkeypatch)
    write(work.project / "data.dvc", "as committed")
    work._bring_dataset()
    assert (work.project / "data.dvc").read_text(encoding="utf-8") == ADDED
    for other in (None, "m"):  # whichever recipe is the checkout's default
        write(work.project / "ratchet.yaml", f"name: {other}\n")
        place = place_of(work.project, "m", "r")
        assert (pinned_version(place, "r"), added_rows(place.pointer)) == ("d" * 32 + ".dir", 2)
    stage = Store(work.state / "store").find("data", "a" * 32)
    assert stage is not None
    assert (stage.path / "data.dvc").read_text(encoding="utf-8") == ADDED


def test_faults_added_rows_that_are_nowhere_name_hash_and_remote(project: Path) -> None:
    work = reproduction(project, dataset={"md5": "d" * 32 + ".dir", "pointer": ADDED})
    work.project.mkdir(parents=True)
    remote = project / ".ratchet" / "dvc" / "remote"
    with pytest.raises(RegistryError, match=rf"neither DVC's cache nor its remote {remote} has dataset d{{32}}\.dir"):
        work._bring_dataset()


def test_what_a_run_made_is_read_with_the_chosen_checkpoints_figures(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        (path / "model").mkdir()
        (path / "model" / "model.safetensors").write_text("w", encoding="utf-8")
        (path / "facts.json").write_text(json.dumps({"best_step": 8}), encoding="utf-8")
        write_json_lines(path / "metrics.jsonl", [{"step": s, "values": {"eval_format_rate": s / 8}} for s in (0, 8)])

    Store(tmp_path).commit("train", "e" * 32, write, {})
    made = rebuilt_in(tmp_path, [{"name": "train", "key": "e" * 32}, {"name": "evaluate", "key": "f" * 32}], {}, {})
    assert made.weights == made.stages["train"]["model/model.safetensors"]
    assert (made.metrics, list(made.stages)) == ({"eval_format_rate": 1.0}, ["train"])


def test_of_a_promoted_checkpoint_the_same_step_is_compared(tmp_path: Path) -> None:
    def write_train(path: Path) -> None:
        write(path / "model" / "model.safetensors", "start")
        write(path / "checkpoints" / "step_000004" / "model" / "model.safetensors", "last")
        write(path / "facts.json", json.dumps({"best_step": 0}))
        write_json_lines(path / "metrics.jsonl", [{"step": s, "values": {"eval_format_rate": s / 8}} for s in (0, 4)])

    Store(tmp_path).commit("train", "e" * 32, write_train, {})
    stages = [{"name": "train", "key": "e" * 32}]
    made = rebuilt_in(tmp_path, stages, {}, {}, "checkpoints/step_000004")
    assert made.weights == made.stages["train"]["checkpoints/step_000004/model/model.safetensors"]
    assert made.metrics == {"eval_format_rate": 0.5}
    with pytest.raises(RegistryError, match="kept no checkpoints/step_000008"):
        rebuilt_in(tmp_path, stages, {}, {}, "checkpoints/step_000008")


def interpreter(folder: Path, script: str) -> Path:
    """Stands in for a commit's Python: it is called as ``-m ratchet VERB ... --json``."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(("recorded", "expected"), [(1, 1), (0, 7)])
def test_of_the_commit_only_verbs_are_called_and_the_recipes_threads_count(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: int, expected: int
) -> None:
    work = reproduction(project, recipe={**RECIPE, "threads": recorded})
    work.project.mkdir(parents=True)
    monkeypatch.setattr("ratchet.components.provenance.rebuild.rebuilt_in", lambda *made: made)
    doctor = json.dumps({"machine": {"threads": 7}, "libraries": {"torch": "2"}})
    script = f"""echo "$@" >> {tmp_path}/called\ncase "$3" in train) echo '{{"stages": []}}';; doctor) echo '{doctor}';; esac"""
    _, stages, machine, libraries, _ = work._train(interpreter(tmp_path, script), tmp_path / "r.yaml")  # type: ignore[misc]
    calls = (tmp_path / "called").read_text(encoding="utf-8").splitlines()
    assert calls == [f"-m ratchet train --recipe {tmp_path}/r.yaml --json", "-m ratchet doctor --json"]
    assert (stages, machine, libraries) == ([], {"threads": expected}, {"torch": "2"})


def test_faults_a_training_that_the_sentinel_stopped_again_is_compared(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = reproduction(project)
    work.project.mkdir(parents=True)
    monkeypatch.setattr("ratchet.components.provenance.rebuild.rebuilt_in", lambda *made: made)
    doctor = json.dumps({"machine": {}, "libraries": {}})
    script = f"""case "$3" in train) echo '{{"stages": [1]}}'; exit 6;; doctor) echo '{doctor}';; esac"""
    assert work._train(interpreter(tmp_path, script), tmp_path / "r.yaml")[1] == [1]  # type: ignore[index]


def test_a_verb_that_fails_is_named_with_its_reason(project: Path, tmp_path: Path) -> None:
    work = reproduction(project)
    work.project.mkdir(parents=True)
    python = interpreter(tmp_path, """echo '{"error": "disk full."}'; exit 1""")
    with pytest.raises(RegistryError, match=r"`ratchet train` of commit [0-9a-f]{12} failed: disk full\. Its output"):
        work._train(python, tmp_path / "r.yaml")


@pytest.mark.parametrize(
    ("environment", "remedy"), [("lock", "--environment current, .* `make constraints`"), ("current", "above")]
)
def test_a_library_that_the_clean_environment_lacks_is_not_to_be_installed_here(
    project: Path, environment: str, remedy: str
) -> None:
    work = dataclasses.replace(reproduction(project), environment=environment)
    write(work.code / "ratchet" / "__init__.py", "")
    write(work.code / "ratchet" / "__main__.py", FAILING)
    with pytest.raises(RegistryError, match=rf"No module named 'unidecode'.*{remedy}") as raised:
        work._ratchet(Path(sys.executable), "train")
    assert ("Install the module" in str(raised.value)) == (environment == "current")


FAILING = """
import json, sys
print(json.dumps({"error": "graders.right.file: No module named 'unidecode'. Install the module, or correct the path."}))
sys.exit(2)
"""
