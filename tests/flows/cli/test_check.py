"""``ratchet check`` as a person and a program see it."""

import json
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from ratchet.components.code.extras import TRAIN
from ratchet.components.inspection.check import Checked, Part, State
from ratchet.components.project.prompts import Prompt
from ratchet.flows.cli.views import check as view
from tests.commands import ratchet, without
from tests.places import MICRO


def shown(found: Checked, width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    recorded = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    monkeypatch.setattr(view, "console", recorded)
    view.show_checked(found)
    return recorded.export_text()


@pytest.fixture
def found() -> Checked:
    found = Checked("ratchet.yaml")
    found.add(Part.ROWS, State.OK, "9 rows read; train 9")
    found.add(Part.ROWS, State.WARNING, "many were dropped. Correct them.")
    found.add(Part.PROMPTS, State.OK, "1 of train")
    found.prompts.append(Prompt("00af", "Say [red]\x1b[2J\u202eno\n" + "x" * 100_000))
    return found


@pytest.mark.parametrize("width", [80, 160])
def test_a_prompt_is_cut_and_neither_markup_nor_escapes_of_it_act(
    found: Checked, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown(found, width, monkeypatch)
    assert "Say [red]\\u001b[2J\\u202eno" in text
    assert "... (cut: 100,017 characters)" in " ".join(text.split())
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= width
    assert len(text) < 2_000


def test_the_last_line_says_what_to_do_next_or_how_much_failed(found: Checked) -> None:
    assert view.conclusion(found) == "1 warning; next: ratchet try -n 8, then ratchet run"
    found.add(Part.GOLD, State.FAILURE, "no")
    found.add(Part.GOLD, State.FAILURE, "no")
    assert view.conclusion(found) == "[bold red]2 failures, 1 warning[/]"


def test_a_long_finding_keeps_its_beginning_and_its_remedy() -> None:
    finding = ["300 checks failed:", *(f"  row {n}" for n in range(300)), "Correct these rows."]
    lines = view.shortened("\n".join(finding)).split("\n")
    assert lines[:2] == ["300 checks failed:", "  row 0"]
    assert lines[-2:] == ["  ... (295 lines more with --json)", "Correct these rows."]
    assert len(lines) == 8


def test_markup_that_reaches_over_a_lines_end_is_text(found: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    found.add(Part.RECIPE, State.FAILURE, "expected ',' or ']': name: [demo\n  and more]\nCorrect it.")
    assert "[demo" in shown(found, 160, monkeypatch)


@pytest.mark.slow
def test_a_project_is_checked_without_torch_and_a_run_finds_its_stages(project: Path) -> None:
    command, base = ratchet("check", "--recipe", str(MICRO), "--json"), without(project / "without", *TRAIN)
    first, second = (
        subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=base) for _ in range(2)
    )
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    result = json.loads(first.stdout)
    assert result == json.loads(second.stdout)
    assert {line["part"] for line in result["lines"]} == {"recipe", "rows", "prompts", "gold", "power"}
    assert (len(result["prompts"]), result["gold"]["mutation_score"]) == (3, 1.0)
    stages = {path.parent.name for path in (project / ".ratchet" / "store").glob("*/*")}
    assert stages == {"data", "gold"}
    assert "dataset" not in second.stderr  # taken from the store
