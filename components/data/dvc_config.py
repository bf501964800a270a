"""DVC's configuration of a project and of a run's workspace, written by the library that DVC reads it with.

Its syntax has quotes: unquoted, ``#`` would cut a path and ``,`` would split it.
"""

import os
from pathlib import Path
from typing import Any

from configobj import ConfigObj, ConfigObjError

from ratchet.components.errors import DataError
from ratchet.components.storage.files import write_text
from ratchet.components.text import redacted

LOCAL = 'remote "local"'


def init_workspace(workspace: Path, state: Path, project: Path) -> None:
    """Make ``workspace`` a separate DVC repository, sharing the project's cache and remotes.

    A run works in its own workspace, so that it edits no tracked file and takes no lock of another run's.

    Args:
        state: the project's DVC state directory, which contains the cache.
        project: its ``.dvc/config`` names the remotes; without one a local remote below ``state`` is the default.
    """
    config = _remotes(project, state)
    config["cache"] = {"dir": str(state / "cache")}
    _write_config(config, workspace)


def default_remote(project: Path, state: Path) -> str:
    """The URL of the project's default remote, without secrets, for messages."""
    config = _remotes(project, state)
    name = config["core"].get("remote", "")
    return redacted(config.get(f'remote "{name}"', {}).get("url", f"{name} (not in .dvc/config)"))


def _remotes(project: Path, state: Path) -> Any:
    config: Any = _tracked_config(project)
    for section in config.sections:
        url = config[section].get("url", "")
        if section.startswith("remote ") and url and "://" not in url:
            config[section]["url"] = os.path.normpath(project / ".dvc" / url)
    if "core" not in config or _is_generated(config):
        config["core"] = {**config.get("core", {}), "remote": "local"}
        config[LOCAL] = {"url": str(state / "remote"), "verify": "true"}
    return config


def _tracked_config(project: Path) -> ConfigObj:
    """The project's own ``.dvc/config``, by DVC's own parser; empty if there is none.

    Raises:
        DataError: if DVC could not read it.
    """
    path = project / ".dvc" / "config"
    try:
        return ConfigObj(path.read_text(encoding="utf-8").splitlines() if path.is_file() else [], interpolation=False)
    except (ConfigObjError, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a configuration of DVC's: {error}. Correct it.") from error


def _is_generated(config: ConfigObj) -> bool:
    """Whether the remote is one that an earlier release wrote, next to its cache, by an absolute path: a copy has it too."""
    cache, remote = (config.get(name, {}).get(key, "") for name, key in (("cache", "dir"), (LOCAL, "url")))
    return os.path.isabs(cache) and remote == os.path.join(os.path.dirname(cache), "remote")


def _write_config(config: ConfigObj, workspace: Path) -> None:
    config["core"].update({"no_scm": "true", "analytics": "false", "check_update": "false"})
    write_text(workspace / ".dvc" / "config", "\n".join(config.write()) + "\n")


def init_project(project: Path, state: Path) -> None:
    """Give a project its ``.dvc``, with paths relative to it, so that a copy has a cache and a remote of its own."""
    config: Any = ConfigObj(interpolation=False)
    config["core"] = {"remote": "local"}
    config[LOCAL] = {"url": _relative(state / "remote", project), "verify": "true"}
    config["cache"] = {"dir": _relative(state / "cache", project)}
    _write_config(config, project)


def _relative(path: Path, project: Path) -> str:
    """Within the project, relative to its configuration, as DVC reads it."""
    return os.path.relpath(path, project / ".dvc") if path.is_relative_to(project) else str(path)
