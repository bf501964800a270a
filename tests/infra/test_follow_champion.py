"""A server that follows the alias: it changes on a promotion, and never to a version that does not load."""

import importlib.util
import subprocess
import sys
from typing import Any

import pytest

from tests.places import ROOT

PATH = ROOT / "infra" / "serving" / "follow_champion.py"
spec = importlib.util.spec_from_file_location("follow_champion", PATH)
assert spec is not None
assert spec.loader is not None
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)


class FakeServer:
    """A process that lives until it is told otherwise."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self.returncode


class Fleet:
    """The registry's alias, what loads, and the servers that were started and ended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.alias: str | None = "1"
        self.damaged: set[str] = set()
        self.started: list[str] = []
        self.ended: list[str] = []
        self.now = 1000.0
        monkeypatch.setattr(module, "end", lambda server: self.ended.append(server.version))
        self.tried: list[str] = []
        self.follower = module.Follower(lambda: self.alias, self.loads, self.start, lambda: self.now)

    def loads(self, version: str) -> bool:
        self.tried.append(version)
        return version not in self.damaged

    def start(self, version: str) -> Any:
        self.started.append(version)
        return FakeServer(version)


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    fleet = Fleet(monkeypatch)
    fleet.follower.step()
    return fleet


def test_the_champion_is_served_and_served_once(fleet: Fleet) -> None:
    fleet.follower.step()
    assert (fleet.started, fleet.ended) == (["1"], [])


def test_a_promotion_changes_the_server(fleet: Fleet) -> None:
    fleet.alias = "2"
    fleet.follower.step()
    assert (fleet.started, fleet.ended) == (["1", "2"], ["1"])


def test_a_version_that_does_not_load_never_takes_the_place(fleet: Fleet) -> None:
    fleet.alias, fleet.damaged = "2", {"2"}
    fleet.follower.step()
    fleet.follower.step()
    assert (fleet.started, fleet.ended, fleet.follower.version) == (["1"], [], "1")
    fleet.alias = "3"
    fleet.follower.step()
    assert fleet.started == ["1", "3"]


def test_a_version_that_did_not_load_is_tried_again_after_some_minutes(fleet: Fleet) -> None:
    fleet.alias, fleet.damaged = "2", {"2"}
    for seconds in (0, 1, module.AGAIN_SECONDS - 2, 1, 1):
        fleet.now += seconds
        fleet.follower.step()
    assert (fleet.tried, fleet.started) == (["1", "2", "2"], ["1"])  # not at each look: loading takes long
    fleet.damaged.clear()
    fleet.now += module.AGAIN_SECONDS
    fleet.follower.step()
    assert (fleet.started, fleet.ended) == (["1", "2"], ["1"])


def test_a_server_that_died_lives_on_while_another_version_does_not_load(fleet: Fleet) -> None:
    fleet.alias, fleet.damaged = "2", {"2"}
    fleet.follower.step()
    fleet.follower.server.returncode = 1
    fleet.follower.step()
    assert fleet.started == ["1", "1"]


def test_a_registry_that_is_down_changes_nothing(fleet: Fleet) -> None:
    fleet.alias = None
    fleet.follower.step()
    assert (fleet.started, fleet.ended) == (["1"], [])


def test_a_server_that_died_is_started_again(fleet: Fleet) -> None:
    fleet.follower.server.returncode = 1
    fleet.follower.step()
    assert fleet.started == ["1", "1"]


def test_a_server_ends_with_all_its_processes() -> None:
    code = (
        "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); time.sleep(60)"
    )
    server = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    module.end(server)
    assert server.returncode is not None
    module.end(server)  # one that is gone already


def test_help_needs_nothing_installed() -> None:
    done = subprocess.run([sys.executable, "-S", str(PATH), "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--every" in done.stdout
