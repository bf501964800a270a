"""A dataset version is a pointer's md5; what does not hash to it is refused, however it came about."""

import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from ratchet.components.data import pointers, versioning
from ratchet.components.data.dvc_config import init_workspace
from ratchet.components.data.pointers import POINTER, pointer_md5, write_pointer
from ratchet.components.errors import DataError, MissingExtraError
from tests.commands import without

MD5 = "0123456789abcdef0123456789abcdef.dir"
GOOD_POINTER = f"outs:\n- md5: {MD5}\n  size: 12\n  nfiles: 2\n  hash: md5\n  path: data\n"
FILES = {"dev.jsonl": "one row\n", "summary.json": '{"rows": {"dev": 1, "train": 1}}', "train.jsonl": "another\n"}


class Place(NamedTuple):
    """A workspace and the DVC state (cache, remote) that it uses."""

    workspace: Path
    state: Path

    @property
    def pointer(self) -> Path:
        return self.workspace / POINTER

    @property
    def own(self) -> pointers.Place:
        return pointers.Place(self.workspace)

    def content(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in (self.workspace / "data").iterdir()}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A version that was added and pushed; tests work on copies of it."""
    root = tmp_path_factory.mktemp("published")
    place = Place(root / "workspace", root / "state")
    (place.workspace / "data").mkdir(parents=True)
    for name, text in FILES.items():
        (place.workspace / "data" / name).write_text(text)
    init_workspace(place.workspace, place.state, root / "no project")
    versioning.add(place.workspace, place.state)
    versioning.push(place.own, place.state / "scratch", place.state)
    return place


@pytest.fixture
def place(published: Place, tmp_path: Path) -> Place:
    """A copy of the published version, with a state of its own."""
    copy = Place(tmp_path / "workspace", tmp_path / "state")
    shutil.copytree(published.workspace, copy.workspace)
    shutil.copytree(published.state, copy.state)
    init_workspace(copy.workspace, copy.state, tmp_path / "no project")
    return copy


def damage(folder: Path) -> None:
    """Change a stored file as a failing disk would: same size, same time."""
    (stored,) = (path for path in folder.rglob("*") if path.is_file() and path.read_bytes() == b"one row\n")
    edit_unseen(stored, "one rOw\n")


def edit_unseen(path: Path, text: str) -> None:
    before = path.stat()
    path.chmod(0o644)
    path.write_text(text)
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


# Somebody's files


@pytest.mark.parametrize("name", ["invoices.jsonl", "raw/train.jsonl", "train.jsonl"])
def test_a_file_that_no_version_made_is_not_deleted(name: str, tmp_path: Path) -> None:
    """Also one named like a table, where no version lies."""
    version, project = tmp_path / "version", tmp_path / "project"
    (version / "data").mkdir(parents=True)
    (version / "data" / "train.jsonl").write_text("made\n")
    own = project / "data" / name
    own.parent.mkdir(parents=True)
    own.write_text("mine\n")
    with pytest.raises(DataError, match="Move it to another folder"):
        versioning.publish_data(version, pointers.Place(project))
    assert own.read_text() == "mine\n"


def test_tables_of_another_version_are_replaced(tmp_path: Path) -> None:
    version, project = tmp_path / "version", tmp_path / "project"
    for folder, tables in ((version / "data", ["train"]), (project / "data", ["train", "sealed_3"])):
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(json.dumps({"rows": dict.fromkeys(tables, 1)}))
        for table in tables:
            (folder / f"{table}.jsonl").write_text(f"{folder}\n")
    versioning.publish_data(version, pointers.Place(project))
    assert sorted(path.name for path in (project / "data").iterdir()) == ["summary.json", "train.jsonl"]
    assert (project / "data" / "train.jsonl").read_text() == f"{version / 'data'}\n"


# By its hash


def name_of(place: Place) -> str:
    return pointer_md5(place.pointer)


def test_a_version_is_restored_by_its_hash(place: Place, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    data = versioning.restore(name_of(place), tmp_path / "new", place.state, tmp_path)
    assert {path.name: path.read_text() for path in data.iterdir()} == FILES


def test_a_version_that_nobody_has_is_refused(place: Place, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(DataError, match=rf"do not exist neither locally nor on remote.*{MD5}.*Check the remote"):
        versioning.restore(MD5, tmp_path / "new", place.state, tmp_path)


def test_faults_a_library_that_the_remote_needs_is_named_with_the_remedy(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in without(tmp_path / "site", "dvc_s3").items():
        monkeypatch.setenv(name, value)
    (place.workspace / ".dvc" / "config").write_text("[core]\n    remote = s3\n['remote \"s3\"']\n    url = s3://bucket/data\n")
    with pytest.raises(MissingExtraError, match=r"dvc-s3.*Run: pip install 'ratchet-rl\[server\]'\."):
        versioning.push(place.own, tmp_path / "scratch", place.state)


@pytest.mark.parametrize("name", ["../../x", "", "x" * 32, "--remote"])
def test_a_name_that_is_no_md5_is_looked_up_nowhere(place: Place, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="not the md5"):
        versioning.restore(name, tmp_path / "new", place.state, tmp_path)
    with pytest.raises(DataError, match="not the md5"):
        versioning.cached(name, place.state)


def test_the_cache_is_whole_lacking_or_damaged(place: Place) -> None:
    assert versioning.check_cache(name_of(place), place.state)
    assert not versioning.check_cache(MD5, place.state)
    damage(place.state / "cache")
    with pytest.raises(DataError, match="damaged"):
        versioning.check_cache(name_of(place), place.state)


def test_the_objects_of_a_version_are_its_listing_and_its_files(place: Place) -> None:
    listing, *files = versioning.cached(name_of(place), place.state) or []
    assert listing.name.endswith(".dir")
    assert {path.read_text() for path in files} == set(FILES.values())


# Through DVC


def test_a_version_is_the_md5_of_its_directory(published: Place) -> None:
    # md5 of [{"md5": md5 of a file, "relpath": its name}, ...] as JSON, computed with hashlib and json alone.
    assert pointer_md5(published.pointer) == "8fd3e77947fb06408ccd5d70f81942b6.dir"


def test_files_written_elsewhere_in_another_order_are_the_same_version(published: Place, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in sorted(FILES, reverse=True):
        (tmp_path / "data" / name).write_text(FILES[name])
    init_workspace(tmp_path, published.state, tmp_path / "no project")
    assert versioning.add(tmp_path, published.state) == pointer_md5(published.pointer)


def test_a_pushed_version_is_restored_without_its_cache(place: Place) -> None:
    shutil.rmtree(place.workspace / "data")
    shutil.rmtree(place.state / "cache")
    versioning.pull(place.own, place.state / "scratch", place.state)
    assert place.content() == FILES


def test_a_hand_edited_file_is_refused_with_the_remedy(place: Place) -> None:
    (place.workspace / "data" / "dev.jsonl").write_text("one row and another\n")
    before = place.pointer.read_bytes()
    with pytest.raises(DataError, match=r"were edited.*ratchet data pull"):
        versioning.verify(place.own)
    assert place.pointer.read_bytes() == before


def test_an_edit_that_keeps_size_and_time_is_refused(published: Place) -> None:
    # Not on a copy: DVC remembers the very files that it added, by size, time and inode.
    edited = published.workspace / "data" / "dev.jsonl"
    edit_unseen(edited, "one rOw\n")
    try:
        with pytest.raises(DataError, match="were edited"):
            versioning.verify(published.own)
    finally:
        edit_unseen(edited, FILES["dev.jsonl"])


@pytest.mark.parametrize("lost", ["cache", "remote"])
def test_a_version_that_comes_back_damaged_is_refused(place: Place, lost: str) -> None:
    shutil.rmtree(place.workspace / "data")
    if lost == "remote":
        shutil.rmtree(place.state / "cache")
    damage(place.state / lost)
    with pytest.raises(DataError):
        versioning.pull(place.own, place.state / "scratch", place.state)


def test_a_pointer_edited_to_another_version_is_refused(place: Place) -> None:
    place.pointer.write_text(place.pointer.read_text().replace(pointer_md5(place.pointer), MD5))
    with pytest.raises(DataError, match="dvc pull"):
        versioning.pull(place.own, place.state / "scratch", place.state)


@pytest.mark.parametrize("figure", ["size: 1", "nfiles: 7"])
def test_an_edited_figure_of_a_pointer_is_refused(place: Place, figure: str) -> None:
    name = figure.partition(":")[0]
    lines = [f"  {figure}" if line.strip().startswith(name) else line for line in place.pointer.read_text().splitlines()]
    place.pointer.write_text("\n".join(lines))
    with pytest.raises(DataError, match=f"its {name} is not"):
        versioning.verify(place.own)


def test_files_with_another_sha256_than_the_pointers_are_refused(place: Place) -> None:
    write_pointer(place.pointer, sha256=versioning.content_sha256(place.workspace / "data"))
    versioning.verify(place.own)
    write_pointer(place.pointer, sha256="0" * 64)
    with pytest.raises(DataError, match="its sha256 is not"):
        versioning.verify(place.own)


def test_a_version_is_fetched_by_its_md5_alone(place: Place, tmp_path: Path) -> None:
    text = versioning.plain_pointer(pointer_md5(place.pointer))
    versioning.fetch(text, tmp_path / "no project", tmp_path / "fetched", place.state)
    assert {path.name: path.read_text() for path in (tmp_path / "fetched" / "data").iterdir()} == FILES


# Links and workspaces


@pytest.mark.parametrize("name", ["data", POINTER, ".dvc", ".dvc/config"])
def test_a_symbolic_link_is_refused_before_anything_is_pulled(place: Place, name: str) -> None:
    (place.workspace / name).rename(place.state / "elsewhere")
    (place.workspace / name).symlink_to(place.state / "elsewhere")
    with pytest.raises(DataError, match="symbolic link"):
        versioning.pull(place.own, place.state / "fresh", place.state)
    assert not (place.state / "fresh").exists()


@pytest.mark.parametrize("name", ["data", "data.two"])
def test_a_version_of_any_recipe_is_pushed_and_pulled(place: Place, name: str) -> None:
    own = pointers.Place(place.workspace / "project", name)
    versioning.publish(place.workspace, own, "two", place.state)
    versioning.push(own, place.state / "scratch", place.state)
    shutil.rmtree(own.data)
    versioning.pull(own, place.state / "fresh", place.state)
    versioning.verify(own)
    assert {path.name: path.read_text() for path in own.data.iterdir()} == FILES


def test_dvc_writes_its_own_state_nowhere_else(tmp_path: Path) -> None:
    environment = versioning.environment(tmp_path)
    assert environment["DVC_NO_ANALYTICS"] == "1"
    folders = [Path(environment[f"DVC_{name}"]) for name in ("SITE_CACHE_DIR", "GLOBAL_CONFIG_DIR", "SYSTEM_CONFIG_DIR")]
    assert {folder.parent for folder in folders} == {tmp_path}


# Publishing


def version_of(tmp_path: Path) -> Path:
    (tmp_path / "version" / "data").mkdir(parents=True)
    (tmp_path / "version" / "data" / "train.jsonl").write_text("new\n")
    (tmp_path / "version" / POINTER).write_text(GOOD_POINTER)
    return tmp_path / "version"


def test_publishing_replaces_the_projects_data_and_pointer(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "data").mkdir(parents=True)
    (project / "data" / "dev.jsonl").touch()
    (project / "data" / "summary.json").write_text('{"rows": {"dev": 0}}')
    versioning.publish(version_of(tmp_path), pointers.Place(project), "mine", tmp_path / "state")
    assert {path.name for path in project.iterdir()} == {"data", POINTER, ".dvc"}
    assert [path.name for path in (project / "data").iterdir()] == ["train.jsonl"]
    assert (project / POINTER).read_text() == GOOD_POINTER + "meta:\n  recipe: mine\n"


def test_publishing_for_another_recipe_leaves_data_dvc_alone(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "data").mkdir(parents=True)
    versioning.publish(version_of(tmp_path), pointers.Place(project, "data.mine"), "mine", tmp_path / "state")
    assert {path.name for path in project.iterdir()} == {"data", "data.mine", "data.mine.dvc", ".dvc"}
    assert list((project / "data").iterdir()) == []
    assert (project / "data.mine.dvc").read_text() == GOOD_POINTER.replace("path: data", "path: data.mine") + (
        "meta:\n  recipe: mine\n"
    )


def test_publishing_does_not_write_through_a_symbolic_link(tmp_path: Path) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    (project / "data").symlink_to(elsewhere)
    with pytest.raises(DataError, match="symbolic link"):
        versioning.publish(version_of(tmp_path), pointers.Place(project), "mine", tmp_path / "state")
    assert list(elsewhere.iterdir()) == []
