"""The wheel: what is in it, and that it needs no checkout and minds no namesakes in a user's project."""

import email
import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from email.message import Message
from pathlib import Path

import pytest

from ratchet.components.code.extras import TRAIN
from tests.commands import environment
from tests.places import MICRO, ROOT

UV = [sys.executable, "-m", "uv"]
NAMESAKES = ("flows", "components", "ratchet")
HEAVY = (*TRAIN, "torchgen", "functorch", "peft", "accelerate", "trl")  # of the extra train, and what needs it
SEVERAL = ["adamw-8bit", "lora", "gpu", "lm-eval", "inspect", "bench", "dev"]  # extras that include train


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


def installed(wheel: Path, target: Path, libraries: Path) -> Path:
    """``bin/`` of an environment with the wheel, and with the packages of a folder but not its .pth files."""
    run(*UV, "venv", "--quiet", "--python", sys.executable, str(target), cwd=ROOT)
    python = target / "bin" / "python"
    run(*UV, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", str(python), str(wheel), cwd=ROOT)
    (packages,) = target.glob("lib/python*/site-packages")
    # a directory named in a .pth file is searched, but .pth files within it are not read
    (packages / "libraries.pth").write_text(f"{libraries}\n", encoding="utf-8")
    return target / "bin"


@pytest.fixture(scope="module")
def binaries(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the libraries of the running one but not its editable install."""
    return installed(wheel, tmp_path_factory.mktemp("environment") / "venv", Path(sysconfig.get_path("purelib")))


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without the packages that the extra ``train`` brings."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "libraries").mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if re.split(r"[-.]", entry.name)[0].lower() not in HEAVY:
            (folder / "libraries" / entry.name).symlink_to(entry)
    return installed(wheel, folder / "venv", folder / "libraries")


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


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
    pages = {name for name in tracked("docs") if not re.match(r"ratchet/docs/(generate/|images/|[^/]*\.svg)", name)}
    expected = (tracked("ratchet") - links) | tracked("components") | tracked("flows") | pages
    assert set(contents(wheel)) == expected
    assert contents(wheel)["ratchet/components/report/model-card.md.j2"] == (ROOT / "mlflow" / "model-card.md.j2").read_bytes()


@pytest.mark.slow
def test_a_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    assert contents(build(tmp_path)) == contents(wheel)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_promotes_beside_namesakes(binaries: Path, namesakes: Path) -> None:
    imported = "import ratchet.components.storage.store as module; print(module.__file__)"
    found = Path(run(str(binaries / "python"), "-P", "-c", imported, cwd=namesakes).stdout.strip())
    assert found.is_relative_to(binaries.parent)
    done = run(str(binaries / "ratchet"), "run", "--recipe", str(MICRO), "--json", cwd=namesakes, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["status"], result["version"]) == ("promoted", "1")
    assert (namesakes / result["report"]).is_file()


@pytest.mark.slow
def test_the_metadata_state_systems_and_pythons(metadata: Message) -> None:
    assert metadata["Name"] == "ratchet-rl"
    assert metadata["Requires-Python"] == ">=3.11"
    systems = {"Operating System :: MacOS", "Operating System :: POSIX :: Linux"}
    pythons = {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)}
    assert set(metadata.get_all("Classifier", [])) == systems | pythons


@pytest.mark.slow
def test_the_base_requires_nothing_that_runs_a_model_and_train_does(metadata: Message) -> None:
    required: dict[str, set[str]] = {"": set()}
    for line in metadata.get_all("Requires-Dist", []):
        extra = re.search(r"extra == '([\w-]+)'", line)
        required.setdefault(extra[1] if extra else "", set()).add(re.split(r"[\s<>=!~;]", line)[0])
    assert required[""] & {*HEAVY} == set()
    assert {"tokenizers", "jinja2", "typer", "prefect", "mlflow"} <= required[""]
    assert required["train"] == {*TRAIN}
    assert [name for name in SEVERAL if not required[name] >= {*TRAIN}] == []
    assert set(metadata.get_all("Provides-Extra", [])) == required.keys() - {""}


@pytest.mark.slow
def test_a_project_has_packages_of_its_own_that_are_named_as_ours(binaries: Path, tmp_path: Path) -> None:
    for name, text in {"components": "def right(item):\n    return item['town']\n", "flows": ""}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text, encoding="utf-8")
    grader = (
        "from components import right\n\n\ndef mine(sample, item):\n    return float(sample['output_text'] == right(item))\n"
    )
    (tmp_path / "graders.py").write_text(grader, encoding="utf-8")
    shown = run(str(binaries / "ratchet"), "grader", "show", "graders.py:mine", "--json", cwd=tmp_path)
    assert sorted(json.loads(shown.stdout)["sources"]) == ["components/__init__.py", "graders.py"]


@pytest.mark.slow
def test_without_the_extra_a_project_is_checked_and_a_run_names_it(base: Path, namesakes: Path) -> None:
    hidden = f"from importlib.util import find_spec; print([name for name in {TRAIN} if find_spec(name)])"
    assert run(str(base / "python"), "-c", hidden, cwd=namesakes).stdout.strip() == "[]"
    checked = run(str(base / "ratchet"), "check", "--recipe", str(MICRO), "--json", cwd=namesakes)
    assert {line["part"] for line in json.loads(checked.stdout)["lines"]} == {"recipe", "rows", "prompts", "gold", "power"}
    done = run(str(base / "ratchet"), "run", "--recipe", str(MICRO), cwd=namesakes, check=False)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "pip install 'ratchet-rl[train]'" in done.stderr


@pytest.mark.slow
def test_the_pages_that_messages_name_are_in_the_wheel(binaries: Path, tmp_path: Path) -> None:
    shown = run(str(binaries / "ratchet"), "docs", "docs/gates.md", cwd=tmp_path).stdout
    assert shown == (ROOT / "docs" / "gates.md").read_text(encoding="utf-8")


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
