"""The import rules of docs/architecture.md, read from the sources."""

import ast
import subprocess
import sys
from pathlib import Path

import mlflow

from tests.places import ROOT

# From a run down to the leaves. A part imports what stands in the lines below its own, and nothing else beside itself.
LAYERS: tuple[set[str], ...] = (
    {"compare", "inspection", "notices", "scheduling"},
    {"run", "upkeep"},
    {"project"},
    {"gate", "provenance", "scaffold"},
    {"stages"},
    {"training"},
    {"evaluation", "report"},
    {"ledger", "registry", "rewards", "data"},
    {"policy"},
    {"graders", "checkpoints"},
    {"statistics", "algorithms", "launch"},
    {"code", "recipe", "records"},
    {"pretrained", "storage"},
    {"text"},
    {"credentials", "errors", "faults", "formula", "interruption", "randomness", "templates"},
)


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
    users = {p.parent.relative_to(ROOT).as_posix() for p in sources("components") + sources("flows") if uses(p, "mlflow")}
    assert users == {"components/registry"}


def test_only_their_adapters_import_the_evaluation_libraries() -> None:
    users = {p.stem for p in sources("components") + sources("flows") if uses(p, "lm_eval") or uses(p, "inspect_ai")}
    assert users == {"lm_eval", "inspect_ai"}


def test_only_versioning_starts_dvc() -> None:
    users = {p.relative_to(ROOT).as_posix() for p in sources("components") + sources("flows") if '"-m", "dvc"' in p.read_text()}
    assert users == {"components/data/versioning.py"}


def test_every_part_of_components_has_one_layer() -> None:
    parts = sorted({part(path) for path in sources("components")} - {"__init__"})
    assert sorted(name for layer in LAYERS for name in layer) == parts


def test_imports_go_down_the_layers_alone() -> None:
    level = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    below = {name: {other for other in level if level[other] > level[name]} for name in level}
    wrong = [
        (path.relative_to(ROOT).as_posix(), other)
        for path in sources("components")
        if part(path) in level
        for other in level.keys() - below[part(path)] - {part(path)}
        if uses(path, f"ratchet.components.{other}")
    ]
    assert wrong == []


def test_mlflow_is_the_installed_package() -> None:
    assert mlflow.__file__ is not None
    assert "site-packages" in mlflow.__file__
    stored = ROOT / "mlflow" / "artifacts"  # where MLflow keeps the models that were logged here
    assert [p for p in (ROOT / "mlflow").rglob("*.py") if stored not in p.parents] == []


def test_help_imports_nothing_that_takes_time() -> None:
    code = (
        "import contextlib, sys; sys.argv = ['ratchet', '--help']; from ratchet.flows.cli import main\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Usage: ratchet" in done.stdout
    imported = {name.partition(".")[0] for name in done.stderr.split()}
    assert "typer" in imported
    slow = {"torch", "transformers", "mlflow", "prefect", "polars", "numpy", "sqlalchemy", "pydantic", "jinja2", "yaml", "rich"}
    assert imported & slow == set()


def test_no_file_is_longer_than_400_lines() -> None:
    long = [p.name for p in sources("components") + sources("flows") if len(p.read_text().splitlines()) > 400]
    assert long == []
