"""What a run needs is refused before it begins."""

from pathlib import Path
from typing import Any

import pytest

from ratchet.components.code import extras
from ratchet.components.errors import MissingExtraError
from ratchet.components.recipe import load_recipe
from ratchet.components.stages.stage import Stage
from ratchet.components.storage.home import Home
from ratchet.flows import running
from tests.places import MICRO


def test_an_optimiser_that_is_not_installed_is_refused_to_runs_that_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: Any, **__: Any) -> None:
        pass

    installed = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "torchao" else installed(name))
    for name in ("check_before_run", "require_libraries", "reconcile", "standstills_told"):
        monkeypatch.setattr(running, name, nothing)
    home = Home(tmp_path, tmp_path / "state")
    small = load_recipe(MICRO, ["train.optimizer=adamw_8bit"])
    for stop in (None, Stage.TRAIN, Stage.GATE):
        with pytest.raises(MissingExtraError, match=r"ratchet-rl\[adamw-8bit\]"):
            running.opened(home, small, stop, "2026-01-01")
    assert running.opened(home, small, Stage.DATA, "2026-01-01").recipe == small
    assert running.opened(home, load_recipe(MICRO), None, "2026-01-01").recipe == load_recipe(MICRO)


@pytest.mark.parametrize(("stop", "notes"), [(None, 1), (Stage.GATE, 1), (Stage.TRAIN, 0)])
def test_a_run_says_when_its_version_cannot_be_reproduced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: Stage | None, notes: int
) -> None:
    said: list[str] = []
    for name in ("check_before_run", "require_libraries", "reconcile", "standstills_told"):
        monkeypatch.setattr(running, name, lambda *_, **__: None)
    monkeypatch.setattr(running, "say", said.append)
    running.opened(Home(tmp_path, tmp_path / "state"), load_recipe(MICRO), stop, "2026-01-01")
    assert ["cannot be reproduced: git names no commit" in line and "`git init`" in line for line in said] == [True] * notes
