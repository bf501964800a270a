"""Dataset versions: the only module that touches DVC, always through its command line."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from ratchet.components.code.extras import missing_server
from ratchet.components.data.dvc_config import init_project, init_workspace
from ratchet.components.data.pointers import (
    MD5,
    POINTER,
    Place,
    pointer_md5,
    read_pointer,
    read_pointer_text,
    relocated,
    restoring,
)
from ratchet.components.errors import DataError, MissingExtraError, StoreError
from ratchet.components.storage.digests import digest_of_digests
from ratchet.components.storage.files import read_json, tree_digests, write_text
from ratchet.components.storage.permissions import as_user_writes
from ratchet.components.text import visible

SUMMARY, ADDED = "summary.json", "added.jsonl"  # beside a version's tables
ADVERTISEMENT = "Having any troubles?"  # how DVC ends the message of an unexpected error
CAUSES = ("ERROR:", "WARNING: Some of the cache files do not exist")  # how its account of a failure begins
PLUGIN = re.compile(r"requires '(dvc-[a-z0-9]+)' to be installed")


def add(workspace: Path, state: Path) -> str:
    """``dvc add data`` in a workspace; returns the md5 of the version (``...dir``)."""
    _dvc(workspace, state, "add", "data")
    return pointer_md5(workspace / POINTER)


def push(place: Place, workspace: Path, state: Path) -> None:
    """Upload the version that a project's pointer names to the default remote.

    Args:
        workspace: an empty directory; DVC works there, with the cache of ``state`` wherever that is.
    """
    _enter(place, workspace, state)
    _dvc(workspace, state, "push")


def pull(place: Place, workspace: Path, state: Path) -> None:
    """Restore a project's data to its pointer: from the cache, else from the default remote; hashed before they are used.

    Args:
        workspace: an empty directory; nothing reaches the project before it is verified.

    Raises:
        DataError: if the data, the pointer or DVC's settings are a symbolic link, or the content is not what the pointer says.
    """
    _enter(place, workspace, state)
    _fetch(workspace, state)
    publish_data(workspace, place)


def restore(version: str, workspace: Path, state: Path, project: Path) -> Path:
    """The files of a version, from the cache or else from the default remote, hashed before they are given away.

    Args:
        version: md5 of the version, as a record names it.
        workspace: an empty directory; DVC works there.

    Raises:
        DataError: if neither cache nor remote has the version, or what they have is not it.
    """
    _object(state, version)  # refuses a name that is not an md5
    fetch(plain_pointer(version), project, workspace, state)
    return workspace / "data"


def cached(version: str, state: Path) -> list[Path] | None:
    """The objects of a version in DVC's cache, its listing first; None where the cache does not have it.

    Raises:
        DataError: if the listing is not one.
    """
    listing = _object(state, version)
    return [listing, *(_object(state, name) for name in listed(listing))] if listing.is_file() else None


def listed(listing: Path) -> list[str]:
    """The md5 of each file in the listing of a version.

    Raises:
        DataError: if the listing is not one.
    """
    try:
        names = [entry["md5"] for entry in json.loads(listing.read_bytes())]
        if not all(MD5.fullmatch(name) for name in names):
            raise ValueError("a name in it is not an md5")
        return names
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{listing} is not a listing of DVC's ({error}). Delete it and run `ratchet data pull`.") from error


def cached_versions(state: Path) -> list[str]:
    """Every directory version whose listing is in DVC's cache, ours or not."""
    place = state / "cache" / "files" / "md5"
    names = (path.parent.name + path.name for path in place.glob("??/*.dir"))
    return sorted(name for name in names if MD5.fullmatch(name))


def check_cache(version: str, state: Path) -> bool:
    """Whether the cache has a version, every object hashed again. DVC's own commands would delete a damaged one.

    Raises:
        DataError: if an object is not what its name says.
    """
    objects = cached(version, state)
    if objects is None or not all(path.is_file() for path in objects):
        return False
    for path in objects:
        digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        if digest != path.parent.name + path.name.removesuffix(".dir"):
            raise DataError(f"{path} is damaged: its md5 is {digest}. Delete it and run `ratchet data pull`.")
    return True


def _object(state: Path, name: str) -> Path:
    if not MD5.fullmatch(name):
        raise DataError(f"{name!r} is not the md5 of a dataset version. Check the record that names it.")
    return state / "cache" / "files" / "md5" / name[:2] / name[2:]


def fetch(pointer: str, project: Path, workspace: Path, state: Path) -> None:
    """Lay the version that a pointer's text names below ``workspace`` (an empty directory): ``data/`` and pointer, verified.

    Raises:
        DataError: if the text is not a pointer, or neither cache nor remote has the version whole.
    """
    init_workspace(workspace, state, project)
    write_text(workspace / POINTER, pointer)
    read_pointer(workspace / POINTER)
    _fetch(workspace, state)


def plain_pointer(md5: str) -> str:
    """The text of a pointer at a version of which only the md5 is known."""
    return yaml.safe_dump({"outs": [{"md5": md5, "hash": "md5", "path": "data"}]}, sort_keys=False)


def in_cache(md5: str, state: Path) -> bool:
    """Whether the project's cache knows a version."""
    return (state / "cache" / "files" / "md5" / md5[:2] / md5[2:]).is_file()


def _fetch(workspace: Path, state: Path) -> None:
    _dvc(workspace, state, "pull", "--force")
    verify(Place(workspace))


def _enter(place: Place, workspace: Path, state: Path) -> None:
    refuse_links(place)
    init_workspace(workspace, state, place.root)
    write_text(workspace / POINTER, place.text())


def refuse_links(place: Place) -> None:
    """Refuse places that could lead DVC, or us, out of the project.

    Raises:
        DataError: naming the symbolic link.
    """
    for path in (place.pointer, place.data, place.root / ".dvc", place.root / ".dvc" / "config"):
        if path.is_symlink():
            raise DataError(f"{path} is a symbolic link. Replace it with its target.")


def refuse_other_files(place: Place) -> None:
    """Refuse to replace a folder in which there is more than its summary names: somebody's rows would be deleted.

    Raises:
        DataError: naming such a file.
    """
    found = {path.relative_to(place.data).as_posix() for path in place.data.rglob("*") if not path.is_dir()}
    if others := sorted(found - _tables(place.data)):
        raise DataError(
            f"{place.data / others[0]} is not a table of a dataset version. {place.name}/ is replaced as a whole when one is "
            f"published, and that file would be deleted. Move it to another folder, and correct its path in the recipe."
        )


def _tables(folder: Path) -> set[str]:
    """The files that a version's summary names."""
    try:
        tables = read_json(folder / SUMMARY)["rows"]
        return {SUMMARY, ADDED, *(f"{table}.jsonl" for table in tables)}
    except (StoreError, KeyError, TypeError):
        return set()


def verify(place: Place) -> None:
    """Hash every file of a version again and compare with the pointer; DVC itself would trust sizes and times.

    Raises:
        DataError: if the files, or the figures of the pointer, are not those of the version that it names.
    """
    pointer, root, name = read_pointer(place.pointer), place.data, place.pointer.name
    out, recorded = pointer["outs"][0], (pointer.get("meta") or {}).get("sha256")
    actual = directory_md5(root)
    if actual != out["md5"]:
        raise DataError(
            f"{root} has md5 {actual}, but its pointer says {out['md5']}: files or pointer were edited, or a cache or "
            f"remote is damaged. Delete {place.name}/ and run `ratchet data pull`, or `ratchet data prepare`."
        )
    files = [path for path in root.rglob("*") if path.is_file()]
    figures = {"nfiles": len(files), "size": sum(path.stat().st_size for path in files)}
    wrong = [name for name, value in figures.items() if out.get(name, value) != value]
    if recorded is not None and recorded != content_sha256(root):
        wrong.append("sha256")
    if wrong:
        raise DataError(f"{name} was edited: its {wrong[0]} is not that of {place.name}/. {restoring(name)}")


def content_sha256(root: Path) -> str:
    """One sha256 over a version's files, which unlike DVC's md5 cannot be forged."""
    return digest_of_digests(tree_digests(root))


def directory_md5(root: Path) -> str:
    """DVC's md5 of a directory: of the JSON list of its files' md5 and path, in order of path.

    Raises:
        DataError: if there is no such directory, or a symbolic link in it.
    """
    if not root.is_dir():
        raise DataError(f"there is no {root}. Run `ratchet data pull` to restore it.")
    listing = []
    for path in sorted(root.rglob("*"), key=lambda p: p.relative_to(root).parts):
        if path.is_symlink():
            raise DataError(f"{path} is a symbolic link. Replace it with the file itself.")
        if path.is_file():
            digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            listing.append({"md5": digest, "relpath": path.relative_to(root).as_posix()})
    return hashlib.md5(json.dumps(listing).encode(), usedforsecurity=False).hexdigest() + ".dir"


def publish(version: Path, place: Place, recipe: str, state: Path) -> None:
    """Make a version a recipe's own in the project: data and tracked pointer. Only a person's command calls this."""
    publish_data(version, place)
    text = (version / POINTER).read_text(encoding="utf-8")
    with as_user_writes():
        write_text(place.pointer, relocated(read_pointer_text(text), place.name, recipe))
        if not (place.root / ".dvc").is_dir():
            init_project(place.root, state)


def publish_data(version: Path, place: Place) -> None:
    """Replace a project's data by those of a version, below ``version/data``.

    Raises:
        DataError: if there are files in the project's data that no version made.
    """
    refuse_links(place)
    refuse_other_files(place)
    fresh = place.root / f".{place.name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(version / "data", fresh)
    shutil.rmtree(place.data, ignore_errors=True)
    fresh.rename(place.data)


def environment(state: Path) -> dict[str, str]:
    """Environment of DVC commands: nothing sent home, nothing written outside the project's state."""
    return {
        **os.environ,
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(state / "site"),
        "DVC_GLOBAL_CONFIG_DIR": str(state / "global"),
        "DVC_SYSTEM_CONFIG_DIR": str(state / "system"),
    }


def _dvc(workspace: Path, state: Path, *arguments: str) -> None:
    """Run a command of DVC's, never with ``--quiet``: that would leave out its errors too.

    Raises:
        MissingExtraError: if the remote needs a library that is not installed.
        DataError: if it fails.
    """
    (state / "site").mkdir(parents=True, exist_ok=True, mode=0o700)
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=workspace, env=environment(state), capture_output=True, text=True, check=False)
    if done.returncode:
        raise _failure(f"dvc {' '.join(arguments)} failed in {workspace}", done.stderr)


def _failure(what: str, stderr: str) -> DataError | MissingExtraError:
    found = PLUGIN.search(stderr)
    if found is None:
        return DataError(f"{what}: {_reason(stderr)}. Check the remote, its credentials, and the disk.")
    if found[1] == "dvc-s3":
        return missing_server(f"{found[1]} for the DVC remote in S3")
    return MissingExtraError(f"{what}: the remote needs {found[1]}, which is not installed. Run: pip install {found[1]}.")


def _reason(stderr: str) -> str:
    """DVC's message from its account of the failure on, without the advertisement; of a crash of Python, the error."""
    plain = (re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in stderr.splitlines())
    lines = [line for line in plain if line and not line.startswith(ADVERTISEMENT)]
    causes = [number for number, line in enumerate(lines) if line.startswith(CAUSES)]
    crashes = [number for number, line in enumerate(lines) if line.startswith("Traceback")]
    if causes:
        lines = lines[causes[0] :]
    elif crashes:
        lines = [line for line in lines[crashes[-1] + 1 :] if not line.startswith(" ")]
    return visible(" ".join(line.strip() for line in lines).removesuffix(".")) or "no message"
