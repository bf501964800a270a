"""The reference pages say what the code does: keys, verbs, variables, figures, exit codes, and the keys of JSON."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from docs.generate.__main__ import DOCS, GENERATED
from docs.generate.recipe_keys import walk
from ratchet.components.errors import RatchetError
from ratchet.components.evaluation.measures import OF_A_SAMPLE
from ratchet.components.gate.forecast import Forecast
from ratchet.components.gate.power import Power
from ratchet.components.gate.replay import Replayed
from ratchet.components.inspection.check import Checked
from ratchet.components.inspection.overview import Overview
from ratchet.components.ledger.ledger import Promotion
from ratchet.components.provenance.ancestry import Ancestor
from ratchet.components.provenance.verify import Check, State
from ratchet.components.recipe.measures import KINDS
from ratchet.components.run.outcome import RunResult, Status
from ratchet.components.run.samples import Tried
from ratchet.components.scaffold.meanings import meanings
from ratchet.components.upkeep.backup import Backup
from ratchet.components.upkeep.restore import Restored
from ratchet.flows.settings import DEFAULTS
from tests.places import ROOT

SOURCES = [*(ROOT / "components").rglob("*.py"), *(ROOT / "flows").rglob("*.py"), *(ROOT / "infra").rglob("*.py")]
CODE = "\n".join(path.read_text() for path in SOURCES)
TRAINING = "\n".join(path.read_text() for path in (ROOT / "components" / "training").glob("*.py"))
POWER = Power(0.1, 0.05, 100, "dev", 0.2, True, 0.9, 0.08, 90)
SHAPES = {
    "ratchet run": RunResult(Status.ERROR, failed_checks=[], gate={}, error="", stopped="").as_json(),
    "ratchet status": Overview([], {}, [], None, 0).as_json(),
    "ratchet history": Promotion.as_json(Promotion(*[""] * len(fields(Promotion)))),  # type: ignore[arg-type]
    "ratchet check": Checked("ratchet.yaml").as_json(),
    "ratchet try": Tried("", "", "", [], []).as_json(),
    "ratchet gate power": Forecast(POWER, [], "").as_json(),
    "ratchet gate replay": {field.name: "" for field in fields(Replayed)},
    "ratchet lineage": Ancestor("1", {}, None).as_json(),
    "ratchet verify": Check("", State.OK, "").as_json(),
    "ratchet backup": Backup(Path("b.tar"), 0, 0, []).as_json(),
    "ratchet restore": Restored(0, "", [], []).as_json(),
}


def page(name: str) -> str:
    return (DOCS / name).read_text()


def first_cells(text: str) -> list[str]:
    """The code spans of the first column of tables."""
    rows = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
    return [span for row in rows for span in re.findall(r"`([^`]+)`", row)]


def subclasses(kind: type[RatchetError]) -> set[type[RatchetError]]:
    return {kind, *(one for below in kind.__subclasses__() for one in subclasses(below))}


@pytest.mark.parametrize("name", GENERATED)
def test_generated_pages_are_up_to_date(name: str) -> None:
    assert page(name) == GENERATED[name](), "run `python -m docs.generate`"


@pytest.mark.parametrize("part", list(walk()), ids=lambda part: part.title)
def test_every_recipe_key_says_what_it_means(part) -> None:
    silent = {name for name in part.section.model_fields if not meanings(part.section).get(name)}
    sections = {
        name for name in silent if isinstance(kind := part.section.model_fields[name].annotation, type) and kind.__doc__
    }
    assert silent - sections - {"kind", "type"} == set()


def test_every_variable_is_listed() -> None:
    used = set(re.findall(r"\bRATCHET_[A-Z_]+\b", CODE)) | set(DEFAULTS)
    assert used - set(re.findall(r"`([A-Z_]+)`", page("environment.md"))) == set()


def test_no_variable_is_listed_that_is_not_read() -> None:
    own = {name for name in first_cells(page("environment.md")) if name.startswith("RATCHET_")}
    assert own == set(re.findall(r"\bRATCHET_[A-Z_]+\b", CODE))


def test_every_figure_of_training_is_listed() -> None:
    listed = page("metrics.md")
    written = set(re.findall(r"\"((?:[a-z]+/)?(?:[a-z_0-9]+/)[a-z_0-9]+|(?:eval|frac)_[a-z_]+)\"", TRAINING))
    assert len(written) > 20
    rules = {name for name in written if name.startswith("sentinel/")}  # listed as sentinel/RULE
    assert {name for name in written - rules if f"`{name}`" not in listed} == set()


def test_every_measure_is_listed() -> None:
    assert {name for name in (*KINDS, *OF_A_SAMPLE) if f"`{name}`" not in page("metrics.md")} == set()


def test_every_status_has_its_exit_code() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)`", page("exit_codes.md"), re.MULTILINE)
    assert {(int(code), status) for code, status in rows} == {(status.exit_code, status.value) for status in Status}


def test_every_exit_code_of_an_error_is_listed() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", page("exit_codes.md"), re.MULTILINE)}
    assert {kind.exit_code for kind in subclasses(RatchetError)} <= codes


@pytest.mark.parametrize("command", SHAPES)
def test_the_keys_of_json_are_listed(command: str) -> None:
    section = page("json.md").split(f"## {command}\n")[1].split("\n## ")[0]
    assert sorted(first_cells(section)) == sorted(SHAPES[command])
