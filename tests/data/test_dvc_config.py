"""DVC's configuration: the project's remotes, our cache, and whatever characters are in their paths."""

import os
from pathlib import Path

import pytest
from configobj import ConfigObj

from ratchet.components.data.dvc_config import LOCAL, default_remote, init_project, init_workspace
from ratchet.components.errors import DataError


def workspace_config(tmp_path: Path, project_config: str | None) -> ConfigObj:
    if project_config is not None:
        (tmp_path / "project" / ".dvc").mkdir(parents=True)
        (tmp_path / "project" / ".dvc" / "config").write_text(project_config)
    init_workspace(tmp_path / "workspace", tmp_path / "state", tmp_path / "project")
    return ConfigObj(str(tmp_path / "workspace" / ".dvc" / "config"), interpolation=False)


def test_a_workspace_without_a_project_uses_a_remote_in_the_state(tmp_path: Path) -> None:
    config = workspace_config(tmp_path, None)
    assert config["core"]["remote"] == "local"
    assert config[LOCAL]["url"] == str(tmp_path / "state" / "remote")


def test_a_relative_remote_of_the_project_means_the_same_folder_in_the_workspace(tmp_path: Path) -> None:
    config = workspace_config(tmp_path, "[core]\nremote = r\n['remote \"r\"']\nurl = ../../disk\n")
    assert config['remote "r"']["url"] == str(tmp_path / "disk")


def test_a_remote_is_named_without_its_password(tmp_path: Path) -> None:
    workspace_config(tmp_path, "[core]\nremote = r\n['remote \"r\"']\nurl = https://me:secret@host/data\n")
    named = default_remote(tmp_path / "project", tmp_path / "state")
    assert "host/data" in named
    assert "secret" not in named


@pytest.mark.parametrize("url", ["s3://bucket/data", "s3://bucket/a%20b", "/mnt/disk"])
def test_any_other_remote_of_the_project_is_taken_as_it_is(tmp_path: Path, url: str) -> None:
    config = workspace_config(tmp_path, f"[core]\nremote = r\n['remote \"r\"']\nurl = {url}\n")
    assert (config["core"]["remote"], config['remote "r"']["url"]) == ("r", url)


def test_a_workspace_shares_the_cache_and_sends_nothing_home(tmp_path: Path) -> None:
    config = workspace_config(tmp_path, "[core]\nremote = r\nanalytics = true\n[cache]\ndir = /elsewhere\n")
    assert config["cache"]["dir"] == str(tmp_path / "state" / "cache")
    assert config["core"]["analytics"] == "false"


@pytest.mark.parametrize("name", ["a #b", "a, b", "a;b", "a'b", 'a"b', "$a%(x)s", "é"])
def test_faults_a_path_of_any_characters_reaches_dvc_as_it_is(tmp_path: Path, name: str) -> None:
    config = workspace_config(tmp_path / name, None)
    assert config["cache"]["dir"] == str(tmp_path / name / "state" / "cache")
    assert config[LOCAL]["url"] == str(tmp_path / name / "state" / "remote")


def test_faults_a_projects_own_paths_are_relative_so_that_a_copy_has_its_own(tmp_path: Path) -> None:
    init_project(tmp_path / "project", tmp_path / "project" / ".ratchet" / "dvc")
    (tmp_path / "project").rename(tmp_path / "copy")
    init_workspace(tmp_path / "workspace", tmp_path / "copy" / ".ratchet" / "dvc", tmp_path / "copy")
    text = (tmp_path / "workspace" / ".dvc" / "config").read_text(encoding="utf-8")
    assert ConfigObj(text.splitlines())[LOCAL]["url"] == str(tmp_path / "copy" / ".ratchet" / "dvc" / "remote")
    assert str(tmp_path / "project") not in text


def test_faults_the_absolute_remote_of_an_earlier_release_is_not_the_copys(tmp_path: Path) -> None:
    earlier = "[core]\nremote = local\n['remote \"local\"']\nurl = /gone/dvc/remote\n[cache]\ndir = /gone/dvc/cache\n"
    assert workspace_config(tmp_path, earlier)[LOCAL]["url"] == str(tmp_path / "state" / "remote")
    kept = earlier.replace("/gone/dvc/remote", "/mnt/shared/remote")
    assert workspace_config(tmp_path / "kept", kept)[LOCAL]["url"] == "/mnt/shared/remote"


def test_a_configuration_that_dvc_could_not_read_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{os.path.join('.dvc', 'config')} is not a configuration"):
        workspace_config(tmp_path, "[core\nremote = r\n")
