"""What ``ratchet check`` finds, part by part, and the exit code of the first part that cannot be used."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.errors import DataError, RatchetError, RegistryError, RewardError, StoreError
from ratchet.components.gate import forecast
from ratchet.components.gate.items import Trained
from ratchet.components.graders.protocol import Grade
from ratchet.components.inspection import check
from ratchet.components.inspection.check import Checked, Part, State, check_project
from ratchet.components.project.trained import TrainedOn
from ratchet.components.recipe import load_recipe
from ratchet.components.stages.results import DataStage
from ratchet.components.storage.files import write_json_lines
from ratchet.components.storage.home import Home
from tests.places import MICRO
from tests.stages.by_hand import data_stage, problem

BAD = [{"file": "rows.jsonl", "row": row, "why": "answer: null value"} for row in range(1, 9)]
STEPS = [
    {"name": "bad_rows", "title": "rows that fail a check", "before": 400, "dropped": 8, "examples": BAD},
    {"name": "too_long", "title": "longer than max_prompt_chars", "before": 392, "dropped": 0, "examples": []},
    {"name": "duplicates", "title": "exact duplicates", "before": 392, "dropped": 2, "examples": BAD},
]
TABLES = {"train": 60, "dev": 30, "sealed_0": 40, "sealed_1": 40}
Check = Callable[..., Checked]


@pytest.fixture
def data(tmp_path: Path) -> DataStage:
    """A dataset version without its preparation."""
    stage = data_stage(tmp_path / "version", "0" * 32, **TABLES)
    stage.__dict__["summary"] = {"raw_rows": 400, "rows": TABLES, "warnings": ["near duplicates: many. Raise it."]}
    stage.__dict__["steps"] = STEPS
    return stage


@pytest.fixture
def checked(tmp_path: Path, data: DataStage, monkeypatch: pytest.MonkeyPatch) -> Check:
    """The micro recipe with overrides, checked on these data."""
    monkeypatch.chdir(tmp_path)
    for module in (check, forecast):
        monkeypatch.setattr(module, "prepare_data", lambda context: data)
    return lambda *overrides: check_project(MICRO, overrides, Home(tmp_path, tmp_path / ".ratchet"))


def said(found: Checked, part: Part) -> list[tuple[str, str]]:
    return [(line.state.value, line.text) for line in found.lines if line.part is part]


def test_every_part_of_a_good_project_is_ok(checked: Check) -> None:
    found = checked()
    assert (found.exit_code, found.digest) == (0, load_recipe(MICRO).digest)
    assert [line.part for line in found.lines if line.state is State.OK and line.part is not Part.ROWS] == [
        Part.RECIPE, Part.PROMPTS, Part.GOLD, Part.POWER,
    ]  # fmt: skip
    assert said(found, Part.GOLD) == [("ok", "5 of 5 checks passed; mutation score 1.000")]
    assert "40 sealed items detect a gain of 0.9" in said(found, Part.POWER)[0][1]


def test_rows_are_counted_by_table_and_the_first_bad_ones_are_named(checked: Check) -> None:
    assert said(checked(), Part.ROWS) == [
        ("ok", "400 rows read; train 60, dev 30, sealed_0 40, sealed_1 40"),
        ("ok", "rows that fail a check: 8 dropped" + "".join(f"\nrows.jsonl, row {n}: answer: null value" for n in (1, 2, 3))),
        ("ok", "exact duplicates: 2 dropped\nrows.jsonl, row 1: answer: null value"),
        ("warning", "near duplicates: many. Raise it."),
    ]


def test_kept_texts_with_odd_characters_are_counted_and_named(checked: Check, data: DataStage) -> None:
    odd = {"file": "rows.jsonl", "row": 5, "why": "prompt: UTF-8 decoded as another encoding"}
    step = {"name": "odd_text", "title": "odd characters", "before": 400, "dropped": 0, "kept": 1, "examples": [odd]}
    data.__dict__["steps"] = [step]
    told = "odd characters: kept in 1 row (data.checks.odd_text: drop or refuse)\nrows.jsonl, row 5: prompt: UTF-8 decoded as"
    assert told in said(checked(), Part.ROWS)[1][1]


def test_a_start_below_the_floor_is_a_warning(checked: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "below_floor", lambda *_: "gate.rules.floor asks for more. Lower it.")
    assert ("warning", "gate.rules.floor asks for more. Lower it.") in said(checked(), Part.POWER)


def test_three_prompts_are_shown_from_both_ends_of_train_and_its_middle(checked: Check) -> None:
    assert [prompt.text for prompt in checked().prompts] == [problem(number)["prompt"] for number in (0, 29, 59)]


@pytest.mark.parametrize(
    ("failed", "code"),
    [([], 0), ([Part.RECIPE], 2), ([Part.ROWS], 2), ([Part.PROMPTS], 2), ([Part.GOLD], 4), ([Part.PROMPTS, Part.GOLD], 2)],
)
def test_the_exit_code_is_that_of_the_first_failure(failed: Sequence[Part], code: int) -> None:
    found = Checked("recipe.yaml")
    found.add(Part.POWER, State.WARNING, "UNDERPOWERED")
    for part in failed:
        found.add(part, State.FAILURE, "wrong")
    assert (found.exit_code, found.as_json()["exit_code"]) == (code, code)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trian.lr=1", "trian: unknown key"),
        ("policy.model=./absent", "policy.model: './absent' is neither"),
        ("graders.mine={file: absent.py:f}", "graders.mine.file 'absent.py:f'"),
    ],
)
def test_faults_nothing_is_looked_at_after_a_recipe_that_is_wrong(checked: Check, override: str, message: str) -> None:
    found = checked(override)
    ((state, text),) = [(line.state, line.text) for line in found.lines]
    assert (state, found.exit_code, found.rows) == (State.FAILURE, 2, None)
    assert message in text


def test_faults_rows_that_cannot_be_used_end_the_check(checked: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "prepare_data", raising(DataError("the source has zero rows. Check data.source.")))
    found = checked()
    assert said(found, Part.ROWS) == [("failure", "the source has zero rows. Check data.source.")]
    assert (found.lines[-1].part, found.exit_code) == (Part.ROWS, 2)


class Raising:
    """A gold that fails on so many completions, as the run's counting of faults tells it."""

    def __init__(self, failing: int = 1000) -> None:
        self.asked, self.failing = 0, failing

    def __call__(self, prompts: Sequence[str], texts: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        self.asked += len(texts)
        if self.asked > self.failing:
            return [Grade(1.0) for _ in texts]
        raise RewardError(f"the gold mine.py:f failed on {self.asked} completions (timeout). Fix it.")


def test_faults_a_gold_that_fails_on_everything_is_asked_three_times_and_refused(
    checked: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    gold = Raising()
    monkeypatch.setattr(check, "build_gold", lambda recipe: gold)
    found = checked()
    assert said(found, Part.GOLD) == [("failure", "the gold mine.py:f failed on 3 completions (timeout). Fix it.")]
    assert (gold.asked, found.exit_code, found.gold) == (3, 4, None)
    assert found.power is not None  # what needs no gold is still said


def test_a_gold_that_fails_on_single_rows_is_validated_as_in_a_run(checked: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    gold = Raising(failing=2)
    monkeypatch.setattr(check, "build_gold", lambda recipe: gold)
    assert checked().exit_code == 0
    assert gold.asked == 3


def test_a_gold_that_was_validated_is_not_asked_again(checked: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked().exit_code == 0
    monkeypatch.setattr(check, "build_gold", lambda recipe: Raising())
    assert checked().exit_code == 0


def test_faults_a_gold_that_takes_wrong_answers_is_refused_with_rows_and_remedy(checked: Check) -> None:
    lenient = ("graders.right={type: regex, pattern: '.*', whole: true}", "gate.rules.floor=0")
    found = checked(*lenient)
    assert found.exit_code == 4
    (planted,) = [text for state, text in said(found, Part.GOLD) if text.startswith("gold_planted")]
    assert "worst: " in planted
    assert planted.endswith("make the grader stricter.")


def test_a_waived_check_of_the_gold_is_a_warning(checked: Check) -> None:
    found = checked("graders.right={type: regex, pattern: '.*', whole: true}", "reward.validation.waive={gold_planted: known}")
    assert found.exit_code == 0
    (line,) = [text for state, text in said(found, Part.GOLD) if state == "warning"]
    assert line.endswith("Waived: known")


def test_rows_without_references_leave_the_gold_unmeasured(checked: Check, data: DataStage) -> None:
    for name in TABLES:
        write_json_lines(data.path / "data" / f"{name}.jsonl", [{**row, "answer": None} for row in data.table(name)])
    found = checked()
    assert found.exit_code == 0
    ((state, text),) = said(found, Part.GOLD)
    assert state == "warning"
    assert text.startswith(check.NOTHING_MEASURED)


def test_what_the_gate_cannot_detect_is_a_warning(checked: Check) -> None:
    found = checked("gate.rules.target_effect=0.01", "gate.rules.alpha_epoch=0.05")
    ((state, text),) = said(found, Part.POWER)
    assert (state, found.exit_code) == ("warning", 0)
    assert text.startswith("UNDERPOWERED is to be expected")
    assert text.endswith("Add data, or raise gate.rules.target_effect.")


def raising(error: RatchetError) -> Callable[..., Any]:
    def raises(*arguments: Any) -> Any:
        raise error

    return raises


@pytest.mark.parametrize(
    ("name", "part"), [("prepare_data", Part.ROWS), ("validated_gold", Part.GOLD), ("forecast_power", Part.POWER)]
)
def test_faults_a_store_or_a_ledger_that_cannot_be_used_is_exit_1_and_hides_no_finding(
    checked: Check, monkeypatch: pytest.MonkeyPatch, name: str, part: Part
) -> None:
    before = {line for line in checked().lines if list(Part).index(line.part) < list(Part).index(part)}
    for error in (StoreError("cannot write in x. Free space."), RegistryError("no ledger. Start it.")):
        monkeypatch.setattr(check, name, raising(error))
        found = checked()
        assert (said(found, part), found.exit_code) == ([("failure", str(error))], 1)
        assert before <= set(found.lines)


def test_without_a_fold_left_the_warning_names_the_verdict(checked: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "forecast_power", raising(DataError("every sealed fold is spent. Add data.")))
    found = checked()
    assert said(found, Part.POWER) == [("warning", "a run would end INVALID (exit 5): every sealed fold is spent. Add data.")]
    assert found.exit_code == 0


def test_sealed_items_that_training_saw_are_a_warning(checked: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainedOn, "_find", lambda *_: Trained(frozenset("ab"), by="3"))
    (*_, last) = said(checked(), Part.POWER)
    assert last == ("warning", "2 sealed items do not count: training saw their questions (data of version 3)")
