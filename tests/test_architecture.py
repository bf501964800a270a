"""The import rules of docs/architecture.md, read from the sources."""

import ast
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from tests.places import ROOT

LEAVES = {
    *("chat", "interruption", "recipe", "records", "store", "files", "faults", "home", "errors", "randomness", "algorithms"),
    *("digests", "source_code", "pretrained", "render_template", "text", "user_code", "statistics"),
}
SIDE_BY_SIDE = {"data", "rewards", "policy", "registry"}
SLICES = {
    *("run", "stages", "gate", "provenance", "ledger", "registry", "report", "evaluation", "training"),
    *("rewards", "graders", "policy", "data"),
}


def imports_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def part(path: Path) -> str:
    """``components/data/prepare.py`` is of part ``data``."""
    return path.relative_to(ROOT / "components").parts[0].removesuffix(".py")


def uses(path: Path, module: str) -> bool:
    return any(name == module or name.startswith(f"{module}.") for name in imports_of(path))


def test_components_import_neither_prefect_nor_flows() -> None:
    assert [p for p in sources("components") if uses(p, "prefect") or uses(p, "ratchet.flows")] == []


def test_only_the_registry_imports_mlflow() -> None:
    users = {p.relative_to(ROOT).as_posix() for p in sources("components") + sources("flows") if uses(p, "mlflow")}
    assert users == {f"components/registry/{name}.py" for name in ("runs", "versions", "served_model")}


def test_only_their_adapters_import_the_evaluation_libraries() -> None:
    users = {p.stem for p in sources("components") + sources("flows") if uses(p, "lm_eval") or uses(p, "inspect_ai")}
    assert users == {"lm_eval", "inspect_ai"}


def test_only_versioning_starts_dvc() -> None:
    users = {p.relative_to(ROOT).as_posix() for p in sources("components") + sources("flows") if '"-m", "dvc"' in p.read_text()}
    assert users == {"components/data/versioning.py"}


def test_data_rewards_policy_and_registry_do_not_import_one_another() -> None:
    wrong = [
        (path.name, other)
        for path in sources("components")
        if part(path) in SIDE_BY_SIDE
        for other in SIDE_BY_SIDE - {part(path)}
        if uses(path, f"ratchet.components.{other}")
    ]
    assert wrong == []


def test_leaves_import_only_leaves() -> None:
    above = SLICES
    wrong = [
        (path.name, other)
        for path in sources("components")
        if part(path) in LEAVES
        for other in above
        if uses(path, f"ratchet.components.{other}")
    ]
    assert wrong == []


def test_nothing_below_a_run_imports_it() -> None:
    users = {part(p) for p in sources("components") if uses(p, "ratchet.components.run")}
    assert users <= {"run"}


def test_mlflow_is_the_installed_package() -> None:
    assert mlflow.__file__ is not None
    assert "site-packages" in mlflow.__file__
    stored = ROOT / "mlflow" / "artifacts"  # where MLflow keeps the models that were logged here
    assert [p for p in (ROOT / "mlflow").rglob("*.py") if stored not in p.parents] == []


@pytest.mark.parametrize("module", ["torch", "transformers", "mlflow", "prefect", "polars"])
def test_help_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, ratchet.flows.cli; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_no_file_is_longer_than_400_lines() -> None:
    long = [p.name for p in sources("components") + sources("flows") if len(p.read_text().splitlines()) > 400]
    assert long == []
