"""Whether a slot has anything to train on: new data, new rows, or enough for the gate."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.gate.items import Trained
from ratchet.components.ledger import slots
from ratchet.components.ledger.slots import Look, Slot
from ratchet.components.project.project import Project
from ratchet.components.scheduling import news
from ratchet.components.scheduling.news import look_at, nothing_new
from ratchet.components.stages.stage import Context
from tests.run.runs import claim_of, new_project


def rows(folder: Path, name: str, count: int) -> None:
    folder.mkdir(exist_ok=True)
    lines = [json.dumps({"prompt": f"{name} {n}?", "answer": f"#### {n}"}) for n in range(count)]
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    rows(tmp_path / "drop", "first", 10)
    return of(tmp_path)


def of(tmp_path: Path, **when: Any) -> Project:
    source = f"data.source={{kind: folder, path: {tmp_path / 'drop'}}}"
    return new_project(tmp_path, source, *(f"schedule.when.{key}={json.dumps(value)}" for key, value in when.items()))


def context(project: Project) -> Context:
    return Context(project.recipe, project.home)


def reason(project: Project, before: Look | None) -> str | None:
    return nothing_new(context(project), project.ledger, before, lambda _: Trained())


def test_a_file_dropped_into_the_folder_is_new_data_and_new_rows(tmp_path: Path, project: Project) -> None:
    before = look_at(context(project))
    assert before.rows == 10
    asked = of(tmp_path, new_data=True, min_new_rows=5)
    assert reason(asked, before) == "the data are those of the last run; schedule.when.new_data is true"
    rows(tmp_path / "drop", "second", 4)
    assert reason(asked, before) == "4 new rows since the last run; schedule.when.min_new_rows is 5"
    rows(tmp_path / "drop", "third", 1)
    assert reason(asked, before) is None
    assert reason(asked, None) is None  # the first run


def test_a_new_version_in_the_pointer_is_new_data(tmp_path: Path, project: Project) -> None:
    before = look_at(context(project))
    pointer = f"outs:\n- md5: {'a' * 32}.dir\n  path: data\nmeta: {{added: 3, recipe: micro}}\n"
    (tmp_path / "data.dvc").write_text(pointer)
    assert reason(of(tmp_path, new_data=True, min_new_rows=3), before) is None
    (tmp_path / "data.dvc").write_text(pointer.replace("a" * 32, "b" * 32))
    assert look_at(context(project)).data != before.data


def test_files_are_read_again_only_if_they_changed(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = look_at(context(project))
    monkeypatch.setattr(news, "file_digest", lambda _: pytest.fail("hashed again"))
    assert look_at(context(project)) == before
    file = tmp_path / "drop" / "first.jsonl"
    file.write_text(file.read_text().replace("9", "8"))  # as long as before
    monkeypatch.undo()
    assert look_at(context(project)).data != before.data


def test_enough_rows_asks_the_gate_once_there_are_new_ones(
    tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = of(tmp_path, enough_rows=True)
    monkeypatch.setattr(news, "too_few", lambda *_: "few")
    assert reason(asked, look_at(context(project))) == "no new rows since the last run; schedule.when.enough_rows is true"
    assert reason(asked, None) == "few"


@pytest.mark.slow  # it prepares data
@pytest.mark.parametrize(("effect", "enough"), [(0.9, True), (0.01, False)])
def test_enough_is_what_the_gates_own_power_says(tmp_path: Path, effect: float, enough: bool) -> None:
    project = new_project(tmp_path, f"gate.rules.target_effect={effect}", "schedule.when.enough_rows=true")
    found = reason(project, None)
    assert found is None if enough else found is not None and "sealed items can detect a gain of" in found


def test_the_last_look_is_that_of_the_work_that_was_done_last_whatever_its_slot_and_the_clocks(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, days = claim_of(project), itertools.count(28, -1)
    monkeypatch.setattr(slots, "now", lambda: f"2026-01-{next(days):02}")
    for slot, look, status in (
        ("1", Look("a", 1), "promoted"),
        ("0", Look("b", 2), "refused"),
        ("2", Look("c", 3), slots.KILLED),
    ):
        slots.leave(project.ledger, slots.take(project.ledger, Slot("micro", slot, "r"), claim.run, None, look), status)
    assert slots.last_look(project.ledger, "micro") == Look("b", 2)
    assert slots.last_look(project.ledger, "another") is None
