"""What a reproduction's process sees, and how its environment is installed."""

import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.errors import RegistryError
from ratchet.components.provenance import virtualenv as environments
from ratchet.components.provenance.virtualenv import Installed, isolated, locked_environment, locked_release, told

OURS = {
    "RATCHET_HOME": "/today",
    "RATCHET_LEDGER_URL": "x",
    "MLFLOW_TRACKING_URI": "http://today",
    "PREFECT_API_URL": "http://today",
    "PYTHONPATH": "/elsewhere",
    "OMP_NUM_THREADS": "7",
}


def test_a_rebuilding_process_sees_nothing_of_ours() -> None:
    assert isolated(Path("/new"), 0, {**OURS, "HOME": "/root"}) == {
        "HOME": "/root",
        "RATCHET_HOME": "/new",
        "RATCHET_REBUILDING": "1",
    }


def test_threads_that_torch_chose_are_chosen_again() -> None:
    assert isolated(Path("/new"), 4, OURS)["OMP_NUM_THREADS"] == "4"


def silent(_: str) -> None: ...


class FakeUv:
    """Records commands instead of installing anything."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.calls: list[tuple[list[str], dict[str, str]]] = []
        self.printed = ""
        self.reason = "no such\nwheel"

    def told(self, command: list[str], environment: dict[str, str], say: Callable[[str], None]) -> tuple[int, str]:
        self.calls.append((command, environment))
        return self.code, self.reason

    def __call__(self, command: list[str], env: dict[str, str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.calls.append((command, env))
        return subprocess.CompletedProcess(command, self.code, self.printed, "")


@pytest.fixture
def uv(monkeypatch: pytest.MonkeyPatch) -> FakeUv:
    fake = FakeUv()
    monkeypatch.setattr(environments.subprocess, "run", fake)
    monkeypatch.setattr(environments, "told", fake.told)
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels")
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    return fake


def test_the_environment_is_installed_from_the_checkouts_lock(uv: FakeUv, tmp_path: Path) -> None:
    interpreter = locked_environment(tmp_path / "code", tmp_path / "venv", platform.python_version(), ["lora"], silent)
    (venv, _), (install, variables) = uv.calls
    assert interpreter == tmp_path / "venv" / "bin" / "python"
    assert venv[-3:] == ["--python", sys.executable, str(tmp_path / "venv")]
    assert install[-4:] == ["-e", f"{tmp_path / 'code'}[lora]", "-c", str(tmp_path / "code" / "constraints.txt")]
    assert variables["UV_FIND_LINKS"] == "/wheels"


def test_another_release_of_python_is_asked_for_by_its_number(uv: FakeUv, tmp_path: Path) -> None:
    locked_environment(tmp_path, tmp_path / "venv", "3.99.1", [], silent)
    assert "3.99.1" in uv.calls[0][0]


def test_what_is_no_release_of_python_is_given_to_nobody(uv: FakeUv, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="not a release"):
        locked_environment(tmp_path, tmp_path / "venv", "--index-url=x", [], silent)
    assert uv.calls == []


def test_a_lock_that_cannot_be_installed_says_why(uv: FakeUv, tmp_path: Path) -> None:
    uv.code = 1
    with pytest.raises(RegistryError, match=r"no such wheel.*--environment current"):
        locked_environment(tmp_path, tmp_path / "venv", platform.python_version(), [], silent)


def test_a_release_is_installed_with_all_that_the_projects_lock_names(uv: FakeUv, tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("numpy==2.1.0\nratchet-rl==0.3.0\nx @ file:///x.whl\n", encoding="utf-8")
    uv.printed, pinned = "abc\n", str(tmp_path / "pinned.txt")
    interpreter = locked_release(
        tmp_path, tmp_path / "venv", platform.python_version(), ["train"], Installed("0.4.0", "abc"), silent
    )
    _, (install, _), (asked, variables) = uv.calls
    assert install[-5:] == ["ratchet-rl[train]==0.4.0", "-r", pinned, "-c", pinned]
    assert Path(pinned).read_text(encoding="utf-8") == "numpy==2.1.0\n"
    assert asked[0] == str(interpreter)
    assert "PYTHONPATH" not in variables


def test_a_release_with_other_code_is_refused(uv: FakeUv, tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").touch()
    uv.printed = "other"
    with pytest.raises(RegistryError, match=r"ratchet-rl 0\.4\.0 .* has other code .*UV_FIND_LINKS"):
        locked_release(tmp_path, tmp_path / "venv", platform.python_version(), [], Installed("0.4.0", "abc"), silent)


@pytest.mark.parametrize(
    "reason", ["there is no version of ratchet-rl[train]==0.1.0", "ratchet-rl was not found in the package registry"]
)
def test_a_release_that_no_index_has_is_to_be_given_as_a_wheel(uv: FakeUv, tmp_path: Path, reason: str) -> None:
    (tmp_path / "constraints.txt").touch()
    uv.code, uv.reason = 1, f"Because {reason} and you require it"
    with pytest.raises(RegistryError, match=r"Put the wheel that made the version into a folder, .* UV_FIND_LINKS"):
        locked_release(tmp_path, tmp_path / "venv", platform.python_version(), [], Installed("0.1.0", "abc"), silent)
    uv.reason = "Because ratchet-rl==0.1.0 depends on torch, which is not there"
    with pytest.raises(RegistryError, match=r"--environment current\.$"):
        locked_release(tmp_path, tmp_path / "venv", platform.python_version(), [], Installed("0.1.0", "abc"), silent)


def test_an_installation_says_how_far_it_is_and_that_it_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "NEWS_SECONDS", 0.05)
    lines: list[str] = []
    writes = "import sys, time; print('Resolved 3 packages\\n + numpy==2.1.0', file=sys.stderr, flush=True); time.sleep(0.5); "
    code, said = told([sys.executable, "-c", f"{writes}sys.exit('no space')"], {}, lines.append)
    assert (code, said) == (1, "Resolved 3 packages\n + numpy==2.1.0\nno space\n")
    assert [line for line in lines if line.startswith("uv: ")] == ["uv: Resolved 3 packages", "uv: no space"]
    assert any(line.startswith("still installing, since ") for line in lines)
