"""A dataset version: what makes it another one, what it holds, and how the project's pointer binds it.

With DVC itself: tests/run/test_datasets.py.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ratchet.components.data import versioning
from ratchet.components.data.pointers import read_pointer, write_pointer
from ratchet.components.errors import DataError
from ratchet.components.recipe import build_recipe
from ratchet.components.stages.data import build_data, data_configuration, input_files, prepare_data
from ratchet.components.stages.results import DataStage
from ratchet.components.stages.stage import Context, NotFinished, Seen
from ratchet.components.storage.files import write_json, write_json_lines, write_text
from tests.stages.by_hand import POINTER, context_of, key_of_look, problem, watching

CLEAN = ("data.near_duplicates=null", "data.decontaminate=null")


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a source of 200 problems."""
    monkeypatch.chdir(tmp_path)
    write_json_lines(tmp_path / "rows.jsonl", map(source_row, range(200)))
    return tmp_path


def source_row(number: int) -> dict[str, str]:
    row = problem(number)
    return {"question": row["prompt"], "answer": row["answer"]}


@pytest.mark.parametrize(
    ("task", "digest"),
    [
        (None, "22609d660ad2854f2e4b6a95c31ad466f08aa6b29c9aa77ffe2bbc394644d632"),
        ({"prompt": "Sort: {{item.text}}"}, "3e4af2ba829315d3a502061d8093c70ddc8e7f84d011331b8a74260b3c6d6dfe"),
    ],
)
def test_pointers_that_an_earlier_release_wrote_stay_those_of_their_recipes(task: dict[str, str] | None, digest: str) -> None:
    """A digest that changes unpins the version, and drops the rows that were added to it: leave new settings out of it."""
    values = {"name": "m", "data": {"source": "r.jsonl"}, "gate": {"rules": {}}, **({"task": task} if task else {})}
    assert data_configuration(build_recipe(values, "test").data) == digest


def context(place: Path, *overrides: str) -> Context:
    return context_of(place, "data.source={kind: jsonl, path: rows.jsonl}", *CLEAN, *overrides)


def key(place: Path, *overrides: str, added: Any = ()) -> str:
    return key_of_look(context(place, *overrides), lambda one: build_data(one, added))


RELEVANT = ("data.seed=2", "data.split.dev=0.2", "data.max_prompt_chars=99", "data.near_duplicates=auto")


@pytest.mark.parametrize("change", RELEVANT)
def test_the_recipes_data_section_is_in_its_key(tmp_path: Path, change: str) -> None:
    assert key(tmp_path, change) != key(tmp_path)


def test_the_rest_of_the_recipe_is_not_in_its_key(tmp_path: Path) -> None:
    elsewhere = ["name=other", "seed=9", "device=auto", "policy.warmup.steps=9", "train.lr=1e-5", "gate.rules.floor=0.1"]
    assert key(tmp_path, *elsewhere) == key(tmp_path)


def test_the_content_of_the_source_is_in_its_key(tmp_path: Path) -> None:
    before = key(tmp_path)
    write_json_lines(tmp_path / "rows.jsonl", map(source_row, range(201)))
    assert key(tmp_path) != before


def added(number: int, file: str = "new.jsonl") -> dict[str, Any]:
    """A raw row beside the source's."""
    row = problem(number)
    rest = dict.fromkeys(("chosen", "rejected", "group"))
    texts = {name: row[name] for name in ("prompt", "answer", "demonstration")}
    return {**texts, **rest, "shape": "problem", "file": file, "row": 1, "part": 0}


def test_added_rows_are_in_its_key_by_content_and_not_by_order_or_file(tmp_path: Path) -> None:
    before = key(tmp_path, added=[added(500), added(501)])
    assert key(tmp_path, added=[added(501, "moved.jsonl"), added(500)]) == before
    assert len({before, key(tmp_path), key(tmp_path, added=[added(500)])}) == 3


def test_every_file_that_preparation_reads_is_an_input(tmp_path: Path) -> None:
    write_json_lines(tmp_path / "benchmark.jsonl", [source_row(900)])
    write_text(tmp_path / "model" / "tokenizer.json", "{}")
    lengths = f"data.length={{tokenizer: {tmp_path / 'model'}, max_prompt: 64}}"
    one = context(tmp_path, "data.decontaminate={benchmarks: [benchmark.jsonl]}", lengths)
    assert [file.name for file in input_files(one.recipe.data)] == ["rows.jsonl", "benchmark.jsonl", "tokenizer.json"]
    before = key_of_look(one, build_data)
    for name in ("benchmark.jsonl", "model/tokenizer.json"):
        write_text(tmp_path / name, "[]\n")
        changed = key_of_look(replace(one, seen=Seen()), build_data)
        assert changed != before
        before = changed


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").unlink()
    with pytest.raises(DataError, match=r"rows\.jsonl"):
        prepare_data(context(tmp_path))


class Dvc:
    """DVC's command line: it names a version by the md5 of its files, and keeps none."""

    def __init__(self) -> None:
        self.versions = 0

    def add(self, workspace: Path, state: Path) -> str:
        self.versions += 1
        version = versioning.directory_md5(workspace / "data")
        write_text(workspace / "data.dvc", yaml.safe_dump({"outs": [{"md5": version, "path": "data"}]}))
        return version


@pytest.fixture
def dvc(monkeypatch: pytest.MonkeyPatch) -> Dvc:
    found = Dvc()
    monkeypatch.setattr(versioning, "add", found.add)
    return found


@pytest.fixture
def made(tmp_path: Path, dvc: Dvc) -> DataStage:
    """The version of 200 problems."""
    return prepare_data(context(tmp_path))


def test_a_version_holds_its_tables_its_pointer_and_its_report(tmp_path: Path, made: DataStage) -> None:
    rows = made.summary["rows"]
    assert {f"data/{name}.jsonl" for name in rows} | {"data/summary.json", "data.dvc", "report.html", "steps.json"} == set(
        made.files
    )
    assert {step["name"]: step["dropped"] for step in made.steps if step["dropped"]} == {
        name: dropped for name, dropped in made.summary["dropped"].items() if dropped
    }
    assert {name: len(made.table(name)) for name in rows} == rows
    assert made.version == versioning.directory_md5(made.path / "data")
    assert read_pointer(made.path / "data.dvc")["meta"] == {
        "recipe_data": data_configuration(context(tmp_path).recipe.data),
        "sha256": versioning.content_sha256(made.path / "data"),
    }
    assert made.version in (made.path / "report.html").read_text(encoding="utf-8")


def test_a_run_leaves_nothing_in_the_project_but_its_state(tmp_path: Path, made: DataStage) -> None:
    assert sorted(path.name for path in tmp_path.iterdir()) == [".ratchet", "rows.jsonl"]
    assert list((tmp_path / ".ratchet" / "workspaces").iterdir()) == []


def test_a_version_is_found_again_without_preparing_it(tmp_path: Path, dvc: Dvc, made: DataStage) -> None:
    again = context(tmp_path, "train.lr=1e-5")
    found = prepare_data(replace(again, compute=False))
    assert (found.cached, found.version, dvc.versions, watching(again).steps) == (True, made.version, 1, [])


def test_added_rows_are_in_the_version_and_counted_in_its_pointer(tmp_path: Path, made: DataStage) -> None:
    more = build_data(context(tmp_path), [added(500), added(501)])
    assert read_pointer(more.path / "data.dvc")["meta"]["added"] == 2
    assert [row["question"] for row in more.table("added")] == ["Add 500 and 3.", "Add 501 and 3."]
    assert more.version != made.version


def pinned(place: Path, version: str, **meta: Any) -> None:
    """The project's tracked pointer at a version of this recipe."""
    write_text(place / "data.dvc", POINTER.format(version.removesuffix(".dir")))
    write_pointer(place / "data.dvc", **({"recipe_data": data_configuration(context(place).recipe.data)} | meta))


def test_the_version_that_the_project_pins_is_what_a_run_takes(tmp_path: Path, made: DataStage) -> None:
    pinned(tmp_path, made.version)
    assert prepare_data(context(tmp_path)).version == made.version


def test_another_version_than_the_pinned_one_is_refused(tmp_path: Path, made: DataStage) -> None:
    pinned(tmp_path, "e" * 32)
    complaint = rf"{made.version}.* data\.dvc pins {'e' * 32}\.dir: .* `ratchet data prepare`"
    with pytest.raises(DataError, match=complaint):
        prepare_data(context(tmp_path))


def test_a_pointer_of_another_recipe_binds_nothing(tmp_path: Path, made: DataStage) -> None:
    pinned(tmp_path, "e" * 32, recipe_data="another")
    assert prepare_data(context(tmp_path)).version == made.version


class Restoring:
    """A DVC cache with one version, which holds an added row and says which recipe made it."""

    def __init__(self, made: DataStage, recipe_data: str) -> None:
        self.made, self.recipe_data, self.fetched = made, recipe_data, 0

    def fetch(self, pointer: str, project: Path, workspace: Path, state: Path) -> None:
        self.fetched += 1
        write_text(workspace / "data.dvc", pointer)
        for name in self.made.summary["rows"]:
            (workspace / "data").mkdir(exist_ok=True)
            write_json_lines(workspace / "data" / f"{name}.jsonl", self.made.table(name))
        summary = self.made.summary | {"recipe_data": self.recipe_data, "added_rows": 1}
        write_json(workspace / "data" / "summary.json", summary)


@pytest.fixture
def restoring(tmp_path: Path, made: DataStage, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Restoring]:
    """The project pins a version with an added row."""
    pinned(tmp_path, "c" * 32, added=1)

    def cache(recipe_data: str) -> Restoring:
        found = Restoring(made, recipe_data)
        monkeypatch.setattr(versioning, "fetch", found.fetch)
        return found

    return cache


def test_a_pinned_version_with_added_rows_is_restored_once_and_not_prepared(
    tmp_path: Path, dvc: Dvc, made: DataStage, restoring: Callable[[str], Restoring]
) -> None:
    cache = restoring(data_configuration(context(tmp_path).recipe.data))
    restored = prepare_data(context(tmp_path))
    assert (restored.version, [*restored.table("train")]) == ("c" * 32 + ".dir", [*made.table("train")])
    assert (restored.path / "report.html").is_file()
    assert prepare_data(context(tmp_path)).cached
    assert (cache.fetched, dvc.versions) == (1, 1)
    pinned(tmp_path, "d" * 32, added=1)  # the pointer's version is the key
    with pytest.raises(NotFinished):
        prepare_data(replace(context(tmp_path), compute=False))


def test_a_pointer_edited_to_the_version_of_another_recipe_is_refused(
    tmp_path: Path, restoring: Callable[[str], Restoring]
) -> None:
    restoring("another recipe")
    for _ in range(2):  # from the store as well
        with pytest.raises(DataError, match=r"data\.dvc was edited.* git checkout -- data\.dvc"):
            prepare_data(context(tmp_path))
