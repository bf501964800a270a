"""Leases between processes, and a run's identity."""

from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from components.home import Home
from components.pipeline.context import Context
from components.recipe import load_recipe
from flows.recording import flatten, identity_of, lease, place_of

MICRO = Path(__file__).parents[1] / "recipes" / "micro.yaml"


def identity(tmp_path: Path, *overrides: str) -> str:
    return identity_of(Context(load_recipe(MICRO, overrides), Home(tmp_path, tmp_path)))


def test_a_lease_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    place = tmp_path / "leases" / "machine.lock"
    with lease(Home(tmp_path, tmp_path), "machine", "waiting"), pytest.raises(Timeout):
        FileLock(place).acquire(timeout=0)
    FileLock(place).acquire(timeout=0).lock.release()


def test_a_lease_is_freed_by_an_error(tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path)
    with pytest.raises(ZeroDivisionError), lease(home, "machine", "waiting"):
        raise ZeroDivisionError
    FileLock(tmp_path / "leases" / "machine.lock").acquire(timeout=0).lock.release()


def test_the_identity_depends_on_every_value_of_the_recipe(tmp_path: Path) -> None:
    same = identity(tmp_path), identity(tmp_path, "train.lr=2e-3")
    assert same[0] == same[1]  # the value that the recipe has already
    assert identity(tmp_path, "train.lr=1e-3") != same[0]


def test_a_directory_of_locks_keeps_its_name_and_shares_it_with_no_other(tmp_path: Path) -> None:
    one, other = Home(tmp_path, tmp_path / "one"), Home(tmp_path, tmp_path / "other")
    assert place_of(one) == place_of(one) != place_of(other)


def test_flatten_joins_sections_with_dots() -> None:
    assert flatten({"a": 1, "b": {"c": [2], "d": {"e": None}}}) == {"a": 1, "b.c": [2], "b.d.e": None}
