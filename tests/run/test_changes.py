"""What differs from the champion's run: rows by hand, and what cannot be known is said."""

from pathlib import Path
from typing import Any

import pytest

from ratchet.components.run.changes import (
    ABSENT,
    FIRST,
    MOST,
    Row,
    _rows_text,
    changes_of,
    code_text,
    differences,
    machine_text,
    rows_changed,
)
from ratchet.components.run.outcome import Status
from ratchet.components.run.record import Ending, Run
from ratchet.components.stages.environment import Code, Machine
from ratchet.components.stages.results import DataStage
from tests.run.runs import make_stages, new_run, stage, tracker_of


@pytest.fixture
def run(tmp_path: Path) -> Run:
    found = new_run(tmp_path)
    make_stages(found)
    return found


def test_keys_that_differ_are_rows_and_equal_ones_are_nothing() -> None:
    assert differences("Recipe", {"a": 1, "b": [2]}, {"a": 1, "b": [2]}) == [Row("Recipe", "", "")]
    found = differences("Recipe", {"a": 1, "b": "x", "gone": True}, {"a": 2, "b": "x", "new": None})
    assert found == [Row("Recipe: a", "1", "2"), Row("Recipe: gone", "true", ABSENT), Row("Recipe: new", ABSENT, "null")]


def test_many_keys_are_cut_and_counted() -> None:
    found = differences("Recipe", {}, {f"key{number:02}": number for number in range(MOST + 5)})
    assert len(found) == MOST + 1
    assert found[-1].what == "Recipe: and 5 more"


def test_rows_of_two_versions_are_compared_by_content(run: Run) -> None:
    def data(key: str, train: list[dict[str, Any]]) -> DataStage:
        return stage(run, DataStage, {"data/summary.json": {"rows": {"train": len(train)}}, "data/train.jsonl": train}, key=key)

    old = data("c0ffee01", [{"id": "a"}, {"id": "b", "prompt": "x"}])
    new = data("c0ffee02", [{"id": "b", "prompt": "y"}, {"id": "a"}, {"id": "c"}])
    assert rows_changed(old, new) == (2, 1)


def test_counts_are_in_words() -> None:
    assert [_rows_text(rows) for rows in (0, 1, 1200)] == ["0 rows", "1 row", "1,200 rows"]
    machine = Machine(system="Linux", architecture="x86_64", processor="EPYC", kernels="AVX2", threads=1, gpu=None)
    assert machine_text(machine) == "EPYC, 1 thread"
    assert machine_text(machine.model_copy(update={"threads": 2})) == "EPYC, 2 threads"


def test_sealed_rows_are_not_read(run: Run) -> None:
    files = {"data/summary.json": {"rows": {"train": 1, "sealed_0": 9}}, "data/train.jsonl": [{"id": "a"}]}
    data = stage(run, DataStage, files, key="c0ffee03")
    assert not (data.path / "data" / "sealed_0.jsonl").exists()
    assert rows_changed(data, data) == (0, 0)


def test_uncommitted_code_is_told() -> None:
    code = Code(commit="a" * 40, folder="", changed=[], diff_sha256=None, sources_sha256="b" * 64)
    assert code_text(code) == "a" * 12
    changed = code.model_copy(update={"changed": ["x.py"], "diff_sha256": "c" * 64})
    assert code_text(changed) == f"{'a' * 12} with uncommitted changes ({'c' * 12})"


def test_before_the_first_champion_there_is_nothing_to_compare_with(run: Run) -> None:
    assert run.made.data is not None
    run.ending = Ending(Status.PROMOTED)
    assert changes_of(run, run.made.data).note == FIRST


def test_a_record_that_is_gone_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from ratchet.components.registry.versions import RegisteredVersion

    assert run.made.data is not None
    found = RegisteredVersion("4", "old", {"lineage_sha256": "0" * 64}, 0.0, "")
    monkeypatch.setattr(tracker_of(run), "version", lambda *_: found, raising=False)
    monkeypatch.setattr(tracker_of(run), "fetch", lambda *_: None, raising=False)
    run.ending = Ending(Status.REFUSED, previous="4")
    changes = changes_of(run, run.made.data)
    assert (changes.version, changes.rows) == ("4", [])
    assert changes.note == "Not known: the record of version 4 could not be read from MLflow."
