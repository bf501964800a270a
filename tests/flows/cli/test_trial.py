"""``ratchet try`` as a person and a program see it."""

import json
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from ratchet.components.graders.protocol import Grade
from ratchet.components.run.samples import Sample, Tried
from ratchet.flows.cli.views import samples as view
from ratchet.flows.cli.views.console import console
from tests.commands import environment, ratchet
from tests.places import MICRO

RIGHT = Grade(1.0, {"accuracy_lenient": 1.0, "format_rate": 0.0}, passed=True)
WRONG = Grade(0.25, passed=False, reason="three fields [bold] differ")
FAULT = Grade(None, reason="KeyError: 'x'", fault="raised")
UNJUDGED = Grade(None, reason="no reference")


def sample(prompt: str, completion: str, **grades: Grade) -> Sample:
    return Sample("00af", prompt, completion, True, "#### 3", grades)


SAMPLES = [
    sample("Task: " + "x" * 5_000 + " the end", "y\x1b[2J" * 300, gold=RIGHT, reward=WRONG),
    sample("[red]p", " ", gold=FAULT, reward=WRONG),
    sample("p", "q", gold=UNJUDGED, reward=WRONG),
    sample("p", "q", gold=WRONG, reward=RIGHT),
]


@pytest.mark.parametrize("width", [80, 160])
def test_the_table_fits_and_shows_texts_as_they_are(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    monkeypatch.setattr(view, "console", recorded)
    view.show_samples(Tried("the starting policy", "ab", "greedy", SAMPLES, ["[note]"]))
    text = recorded.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    assert "accuracy_lenient 1" in text
    assert "(empty)" in text
    assert "[red]p" in text
    assert "[note]" in text
    assert "gold: right 1, wrong 1, not judged 1, faults 1" in text
    assert len(text.splitlines()) < 80


def test_one_prompt_is_said_once_and_columns_without_content_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    monkeypatch.setattr(view, "console", recorded)
    prompt, answer = "Why is " + "x" * 40 + "?", "a whole sentence of an answer that fits into one line of the terminal"
    ungraded = Sample(None, prompt, answer, True, None, {})
    view.show_samples(Tried("the starting policy", "ab", "greedy", [ungraded] * 3, ["[note]"]))
    text = recorded.export_text()
    assert (text.count(prompt), text.count(answer)) == (1, 3)
    assert "reference" not in text and "grades" not in text and "none" not in text


def test_several_samples_of_a_row_have_its_reference_above_them(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    monkeypatch.setattr(view, "console", recorded)
    view.show_samples(Tried("the starting policy", "ab", "greedy", [sample("p", "q", gold=RIGHT)] * 2, []))
    text = recorded.export_text()
    assert "prompt p" in text and text.count("reference #### 3") == 1 and text.count("gold right 1") == 2


def test_names_between_colons_stay_what_they_are() -> None:
    with console.capture() as captured:
        console.print("a :100: b")
    assert captured.get() == "a :100: b\n"


def test_a_long_text_keeps_its_beginning_and_its_end() -> None:
    assert view.shortened("a" * 100 + "b" * 300, 60) == "a" * 20 + " [dim]... (400 characters) ...[/] " + "b" * 40
    assert view.shortened("a" * 60, 60) == "a" * 60


@pytest.mark.parametrize(
    ("grade", "expected"),
    [
        (RIGHT, "gold [green]right[/] 1\n  accuracy_lenient 1\n  format_rate 0"),
        (WRONG, "gold [red]wrong[/] 0.25\n  [dim]three fields \\[bold] differ[/]"),
        (FAULT, "gold [red]fault: raised[/]\n  [dim]KeyError: 'x'[/]"),
        (UNJUDGED, "gold [yellow]not judged[/]\n  [dim]no reference[/]"),
        (Grade(0.5), "gold 0.5"),
    ],
)
def test_a_grade_says_right_or_wrong_score_parts_and_reason(grade: Grade, expected: str) -> None:
    assert view.written("gold", grade) == expected


@pytest.mark.slow
def test_samples_of_a_warmed_up_policy_are_the_same_twice(project: Path) -> None:
    command = ratchet("try", "-n", "3", "--json", "--recipe", str(MICRO), "--set", "policy.warmup.steps=20")
    first, second = (
        subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment()) for _ in range(2)
    )
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    result = json.loads(first.stdout)
    assert [set(one["grades"]) for one in result["samples"]] == [{"gold", "reward"}] * 3
    assert "without its learned part" in result["notes"][0]
    assert not (project / "mlflow" / "mlflow.db").exists()
