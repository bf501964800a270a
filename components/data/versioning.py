"""Dataset versions: the only module that touches DVC, always through its command line."""

import configparser
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from components.errors import DataError
from components.files import write_text

POINTER = "data.dvc"
MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


def init_workspace(workspace: Path, state: Path, project: Path) -> None:
    """Make ``workspace`` a DVC repository of its own, sharing the project's cache and remotes.

    A run works in its own workspace, so that it edits no tracked file and takes no lock of another run's.

    Args:
        state: the project's DVC state directory, which holds the cache.
        project: its ``.dvc/config`` names the remotes; without one a local remote below ``state`` is the default.
    """
    config = configparser.ConfigParser(interpolation=None)
    tracked = project / ".dvc" / "config"
    if tracked.is_file():
        config.read(tracked)
    for section in config.sections():
        url = config[section].get("url", "")
        if section.startswith("'remote") and url and "://" not in url and not os.path.isabs(url):
            config[section]["url"] = os.path.normpath(tracked.parent / url)
    if not config.has_section("core"):
        config["core"] = {"remote": "local"}
        config["'remote \"local\"'"] = {"url": str(state / "remote"), "verify": "true"}
    config["core"].update({"no_scm": "true", "analytics": "false", "check_update": "false"})
    config["cache"] = {"dir": str(state / "cache")}
    directory = workspace / ".dvc"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "config").open("w", encoding="utf-8") as file:
        config.write(file)


def add(workspace: Path, state: Path) -> str:
    """``dvc add data`` in a workspace; returns the md5 of the version (``...dir``)."""
    _dvc(workspace, state, "add", "--quiet", "data")
    return pointer_md5(workspace / POINTER)


def push(project: Path, workspace: Path, state: Path) -> None:
    """Upload the version that the project's pointer names to the default remote.

    Args:
        workspace: an empty directory; DVC works there, with the cache of ``state`` wherever that is.
    """
    _enter(project, workspace, state)
    _dvc(workspace, state, "push", "--quiet")


def pull(project: Path, workspace: Path, state: Path) -> None:
    """Restore the project's ``data/`` to its pointer: from the cache, else from the default remote; hashed before it is used.

    Args:
        workspace: an empty directory; nothing reaches the project before it is verified.

    Raises:
        DataError: if the pointer is a symbolic link, or the content is not what it says.
    """
    _enter(project, workspace, state)
    _dvc(workspace, state, "pull", "--quiet", "--force")
    verify(workspace, pointer_md5(workspace / POINTER))
    publish(workspace, project, state)


def restore(version: str, workspace: Path, state: Path, project: Path) -> Path:
    """The files of a version, from the cache or else from the default remote, hashed before they are given away.

    Args:
        version: md5 of the version, as a record names it.
        workspace: an empty directory; DVC works there.

    Raises:
        DataError: if neither cache nor remote has the version, or what they have is not it.
    """
    _object(state, version)  # a name that is no md5 goes no further
    init_workspace(workspace, state, project)
    pointer = {"outs": [{"md5": version, "hash": "md5", "path": "data"}]}
    write_text(workspace / POINTER, yaml.safe_dump(pointer, sort_keys=False))
    _dvc(workspace, state, "pull", "--quiet", "--force")
    verify(workspace, version)
    return workspace / "data"


def cached(version: str, state: Path) -> list[Path] | None:
    """The objects of a version in DVC's cache, its listing first; None where the cache does not have it.

    Raises:
        DataError: if the listing is not one.
    """
    listing = _object(state, version)
    if not listing.is_file():
        return None
    try:
        names = [entry["md5"] for entry in json.loads(listing.read_bytes())]
        return [listing, *(_object(state, name) for name in names)]
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


def _enter(project: Path, workspace: Path, state: Path) -> None:
    if (project / POINTER).is_symlink():
        raise DataError(f"{project / POINTER} is a symbolic link. Replace it by the file itself.")
    read_pointer(project / POINTER)
    init_workspace(workspace, state, project)
    shutil.copy(project / POINTER, workspace / POINTER)


def verify(workspace: Path, expected: str) -> None:
    """Hash every file of ``data/`` again and compare; DVC itself would trust sizes and times.

    Raises:
        DataError: if the files are not those of the version ``expected``.
    """
    actual = directory_md5(workspace / "data")
    if actual != expected:
        raise DataError(
            f"{workspace / 'data'} has md5 {actual}, but its pointer says {expected}: the files were edited, or a cache or "
            "remote is damaged. Delete data/ and the DVC cache and run `ratchet data pull`, or `ratchet data prepare`."
        )


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
            raise DataError(f"{path} is a symbolic link. Replace it by the file itself.")
        if path.is_file():
            digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            listing.append({"md5": digest, "relpath": path.relative_to(root).as_posix()})
    return hashlib.md5(json.dumps(listing).encode(), usedforsecurity=False).hexdigest() + ".dir"


def read_pointer(path: Path) -> dict[str, Any]:
    """A pointer file as data.

    Raises:
        DataError: if it is not a DVC pointer of one output named ``data``.
    """
    try:
        pointer = yaml.safe_load(path.read_text(encoding="utf-8"))
        (out,) = pointer["outs"]
        valid = (
            set(pointer) <= {"outs", "meta"}
            and isinstance(pointer.get("meta", {}), dict)
            and set(out) <= {"md5", "size", "nfiles", "hash", "path"}
            and out["path"] == "data"
            and MD5.fullmatch(str(out["md5"]))
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not a DVC pointer ({error}). Restore it: git checkout -- {path.name}.") from error
    if not valid:
        raise DataError(f"{path} does not just point at data/ by an md5. Restore it: git checkout -- {path.name}.")
    return dict(pointer)


def pointer_md5(path: Path) -> str:
    """The version that a pointer names."""
    return str(read_pointer(path)["outs"][0]["md5"])


def pinned_version(project: Path, configuration: str) -> str | None:
    """The md5 that the project's tracked pointer gives for a data configuration, or None where it speaks of another.

    Args:
        configuration: digest of the recipe's data section, which ``write_pointer`` put into the pointer.
    """
    path = project / POINTER
    if not path.is_file():
        return None
    pointer = read_pointer(path)
    if (pointer.get("meta") or {}).get("recipe_data") != configuration:
        return None
    return str(pointer["outs"][0]["md5"])


def write_pointer(path: Path, configuration: str) -> None:
    """Note in a pointer which data configuration it was made from."""
    pointer = read_pointer(path)
    pointer["meta"] = {"recipe_data": configuration}
    write_text(path, yaml.safe_dump(pointer, sort_keys=False))


def publish(version: Path, project: Path, state: Path) -> None:
    """Make a version the project's own: ``data/`` and the tracked pointer. Only a person's command calls this."""
    target = project / "data"
    if target.is_symlink():
        raise DataError(f"{target} is a symbolic link. Replace it by a real directory.")
    fresh = project / ".data.new"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(version / "data", fresh)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    write_text(project / POINTER, (version / POINTER).read_text(encoding="utf-8"))
    if not (project / ".dvc").is_dir():
        init_workspace(project, state, project)


def environment(state: Path) -> dict[str, str]:
    """Environment of DVC commands: nothing sent home, nothing written outside the project's state."""
    return {
        **os.environ,
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(state / "site"),
        "DVC_GLOBAL_CONFIG_DIR": str(state / "global"),
        "DVC_SYSTEM_CONFIG_DIR": str(state / "system"),
    }


def _dvc(workspace: Path, state: Path, *arguments: str) -> str:
    (state / "site").mkdir(parents=True, exist_ok=True, mode=0o700)
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=workspace, env=environment(state), capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise DataError(f"dvc {' '.join(arguments)} failed in {workspace}: {reason[0]}. Check the remote and the disk.")
    return done.stdout
