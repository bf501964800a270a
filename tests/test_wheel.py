"""The wheel: what is in it, and that it needs no checkout and minds no namesakes in a user's project."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.commands import environment
from tests.places import MICRO, ROOT

UV = [sys.executable, "-m", "uv"]
NAMESAKES = ("flows", "components", "ratchet")


def run(*command: str, cwd: Path, check: bool = True, timeout: int = 240) -> subprocess.CompletedProcess[str]:
    """A command as a user starts it, who has no checkout on the path."""
    links = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS")
    variables = environment("PYTHONPATH", **({"UV_FIND_LINKS": links} if links else {}))
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, check=check, timeout=timeout)


def build(target: Path, *options: str) -> Path:
    """The wheel, by the back-end that the installation of this checkout left in uv's cache."""
    done = run(*UV, "build", "--offline", "--out-dir", str(target), *options, str(ROOT), cwd=ROOT, check=False)
    if done.returncode and "hatchling" in done.stderr and "unsatisfiable" in done.stderr:
        pytest.skip("hatchling is not in uv's cache; `make test` puts it there")
    assert done.returncode == 0, done.stderr
    return next(target.glob("*.whl"))


def contents(wheel: Path) -> dict[str, bytes]:
    """Every file but the metadata, by its name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"), "--wheel")


@pytest.fixture(scope="module")
def binaries(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``bin/`` of an environment with the wheel, and with the libraries of the running one but not its editable install."""
    target = tmp_path_factory.mktemp("environment") / "venv"
    run(*UV, "venv", "--quiet", "--python", sys.executable, str(target), cwd=ROOT)
    python = target / "bin" / "python"
    run(*UV, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", str(python), str(wheel), cwd=ROOT)
    (packages,) = target.glob("lib/python*/site-packages")
    # a directory named in a .pth file is searched, but .pth files within it are not read
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return target / "bin"


@pytest.fixture
def namesakes(tmp_path: Path) -> Path:
    """A project with packages of the names of ours, none of which may be imported."""
    for name in NAMESAKES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise ImportError('{name} of the project')\n", encoding="utf-8")
    return tmp_path


def tracked(folder: str) -> set[str]:
    listed = run("git", "ls-files", folder, cwd=ROOT).stdout.splitlines()
    return {name if folder == "ratchet" else f"ratchet/{name}" for name in listed}


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    links = {"ratchet/components", "ratchet/flows"}
    expected = (tracked("ratchet") - links) | tracked("components") | tracked("flows")
    assert set(contents(wheel)) == expected
    assert contents(wheel)["ratchet/components/report/model-card.md.j2"] == (ROOT / "mlflow" / "model-card.md.j2").read_bytes()


@pytest.mark.slow
def test_a_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    assert contents(build(tmp_path)) == contents(wheel)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_promotes_beside_namesakes(binaries: Path, namesakes: Path) -> None:
    imported = "import ratchet.components.store as module; print(module.__file__)"
    found = Path(run(str(binaries / "python"), "-P", "-c", imported, cwd=namesakes).stdout.strip())
    assert found.is_relative_to(binaries.parent)
    done = run(str(binaries / "ratchet"), "run", "--recipe", str(MICRO), "--json", cwd=namesakes, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["status"], result["version"]) == ("promoted", "1")
    assert (namesakes / result["report"]).is_file()


@pytest.mark.slow
def test_the_module_is_the_command(binaries: Path, tmp_path: Path) -> None:
    by_module = run(str(binaries / "python"), "-m", "ratchet", "recipe", "show", "--recipe", str(MICRO), cwd=tmp_path)
    by_script = run(str(binaries / "ratchet"), "recipe", "show", "--recipe", str(MICRO), cwd=tmp_path)
    assert by_module.stdout == by_script.stdout != ""


def test_the_packages_are_links_in_git_so_that_every_clone_has_them() -> None:
    listed = run("git", "ls-files", "--stage", "ratchet/components", "ratchet/flows", cwd=ROOT).stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["120000", "120000"]


@pytest.mark.parametrize("name", ["components", "flows"])
def test_a_folder_of_the_checkout_is_not_imported_under_its_own_name(name: str) -> None:
    done = run(sys.executable, "-c", f"import {name}", cwd=ROOT, check=False)
    assert done.returncode == 1
    assert f"the package is ratchet.{name};" in done.stderr
