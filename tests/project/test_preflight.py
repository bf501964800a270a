"""What is refused before a run begins."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from ratchet.components.errors import StoreError
from ratchet.components.project.preflight import check_before_run
from ratchet.components.recipe import Recipe, load_recipe
from ratchet.components.storage.home import Home
from tests.places import MICRO

MIB = 2**20


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, tmp_path / ".ratchet")


def recipe_of(model: Path) -> Recipe:
    return load_recipe(MICRO, [f"policy.model={model}"])


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A model in the hub's cache: links into the blobs of its repository."""
    repository = tmp_path / "hub" / "models--x--y"
    found = repository / "snapshots" / "abc"
    for folder in (found, repository / "blobs"):
        folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (repository / "blobs" / f"hash of {name}").write_bytes(b"x" * MIB)
        (found / name).symlink_to(f"../../blobs/hash of {name}")
    return found


def test_faults_a_snapshot_of_the_hubs_cache_is_accepted(home: Home, snapshot: Path, tmp_path: Path) -> None:
    check_before_run(home, recipe_of(snapshot))
    (tmp_path / "named").symlink_to(snapshot)
    check_before_run(home, recipe_of(tmp_path / "named"))


OUTSIDE = ["/etc/passwd", "../../../models--x--z/blobs/1", "../../blobs/gone", "../../blobs", "../../refs"]


@pytest.mark.parametrize("target", OUTSIDE)
def test_faults_a_link_that_leads_out_of_the_model_is_refused_at_once(home: Home, snapshot: Path, target: str) -> None:
    other = snapshot.parents[2] / "models--x--z" / "blobs" / "1"
    other.parent.mkdir(parents=True)
    for file in (other, snapshot.parents[1] / "refs"):
        file.write_text("x", encoding="utf-8")
    (snapshot / "generation_config.json").symlink_to(target)
    with pytest.raises(StoreError, match=r"generation_config.json is a link to .*Replace it with the file itself"):
        check_before_run(home, recipe_of(snapshot))


def test_faults_space_for_the_weights_is_required(home: Home, snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = SimpleNamespace(free=34 * MIB)  # 32, and 1 for each of two copies
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    check_before_run(home, recipe_of(snapshot))
    free.free -= 1
    with pytest.raises(StoreError, match="writes at least 34 MiB"):
        check_before_run(home, recipe_of(snapshot))
    assert not home.state.exists() or not list(home.state.iterdir())
