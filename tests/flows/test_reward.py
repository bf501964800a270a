"""The reward's verbs, and what a run says about a reward that failed, was waived, or chose its own group size."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from rich.console import Console
from typer.testing import CliRunner

from ratchet.components.errors import DataError, RecipeError
from ratchet.components.graders.protocol import Grade
from ratchet.components.rewards.checks.check import Check, RewardReport
from ratchet.components.stages.results import ValidationReport
from ratchet.components.storage.home import Home
from ratchet.flows.cli import app
from ratchet.flows.cli.reward import read_completions
from ratchet.flows.cli.views.console import reward_rows
from ratchet.flows.cli.views.reward import advice_table, check_rows, score_table
from ratchet.flows.cli.views.terminal import Rows
from tests.pages import text_of
from tests.places import ROOT

QUICKSTART = str(ROOT / "recipes" / "quickstart.yaml")
Run = Callable[..., dict[str, Any]]


def score(path: Path, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["reward", "score", str(path), "--recipe", QUICKSTART, *arguments], catch_exceptions=False)


@pytest.fixture
def completions(tmp_path: Path) -> Path:
    rows = [
        {"prompt": "p", "completion": "so \\boxed{1,000}", "answer": "#### 1000.00"},
        {"prompt": "p", "completion": "I think 3", "answer": "3"},
        {"prompt": "p", "completion": "#### 3"},
    ]
    path = tmp_path / "completions.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_score_writes_one_object_a_row_on_stdout(completions: Path) -> None:
    done = score(completions, "--set", "reward.kind=verifier", "--json")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"total": 1.0, "parts": {"verifier": 1.0}},
        {"total": 0.0, "parts": {"verifier": 0.0}},
        {"total": None, "parts": {}},
    ]


def test_the_last_number_counts_by_option(completions: Path) -> None:
    done = score(completions, "--set", "reward.kind=verifier", "--set", "reward.verifier.last_number=true", "--json")
    assert [json.loads(line)["total"] for line in done.stdout.splitlines()] == [1.0, 1.0, None]


def test_score_needs_a_directory_for_a_learned_reward(completions: Path) -> None:
    with pytest.raises(RecipeError, match="--model"):
        score(completions)


@pytest.mark.parametrize("line", ["{", "[]", '{"prompt": "p"}', '{"prompt": "p", "completion": 5}', "null"])
def test_score_names_a_bad_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "bad.jsonl").write_text('{"prompt": "p", "completion": "c"}\n' + line, encoding="utf-8")
    with pytest.raises(DataError, match="line 2 of"):
        score(tmp_path / "bad.jsonl", "--set", "reward.kind=verifier")


def test_a_line_separator_inside_a_text_does_not_end_the_row(tmp_path: Path) -> None:
    row = {"prompt": "p", "completion": "\u2028#### 2"}
    (tmp_path / "rows.jsonl").write_text(f"\n{json.dumps(row, ensure_ascii=False)}\n\n", encoding="utf-8")
    assert read_completions(tmp_path / "rows.jsonl") == [row]


def test_further_columns_are_the_item_and_a_reference_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "completion": "bug", "queue": queue} for queue in ("bug", "refund")]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    verifier = '{type: label, labels: [bug, other], reference: "{{item.queue}}"}'
    done = score(path, "--set", "reward.kind=verifier", "--set", f"reward.verifier={verifier}", "--json")
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert first == {"total": 1.0, "parts": {"verifier": 1.0}}
    assert (second["total"], second["reason"]) == (None, "the reference 'refund' is not one of bug, other")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        read_completions(tmp_path / "absent.jsonl")


# Tables


def shown(*parts: Any) -> str:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for part in parts:
        console.print(part)
    return console.export_text()


def test_a_check_that_failed_says_what_to_do_and_a_waived_one_why() -> None:
    checks = [
        Check("agreement", 0.5, 0.4, 0.6, 0.6, False, "retrain it"),
        Check("noise", 0.1, None, None, 0.25, False, "fix it", waived="known [bold]judge\x1b[2J"),
        Check("range", 1.0, None, None, 0.0, True, "another"),
        Check("sycophancy", None, None, None, 0.25, None, "more pairs", "only 3 pairs"),
    ]
    text = shown(*check_rows(RewardReport("model", checks).as_json()))
    assert "refused" in text
    assert "0.400 to 0.600" in text
    assert "retrain it" in text
    assert "known [bold]judge\\u001b[2J" in text
    assert "another" not in text
    assert "1 of 3 checks passed, 1 not measured" in text
    assert "not measured\n    only 3 pairs" in text


def test_checks_without_pairs_are_one_line_of_a_run_s_end_and_not_failures() -> None:
    def without_pairs(name: str) -> Check:
        return Check(name, None, None, None, 0.65, False, "give pairs", waived="no pairs")

    checks = [without_pairs("pair_accuracy"), without_pairs("text_invariance"), Check("range", 1.0, None, None, 0.0, True, "")]
    found = RewardReport("verifier", checks).as_json()
    text = shown(Rows(reward_rows(ValidationReport(**{**found, "advice": {}}))))
    assert "1 of 1 checks passed, 2 not measured" in text
    assert "2 had nothing to measure, which the recipe waives: no pairs" in text
    assert "pair_accuracy" not in text


def test_advice_and_scores_are_tables() -> None:
    size = {"k": 8, "silent_share": 0.25, "advantage_fidelity": 0.5, "signal": 4.0, "spread_error": 0.27}
    advice = {"k": 8, "algorithm": "grpo", "sizes": [size], "reasons": ["rho is 1"], "assumptions": ["noise is independent"]}
    text = shown(*advice_table(advice))
    assert "train.k = 8, grpo" in text
    assert "because rho is 1" in text
    assert "none" in shown(score_table([{"completion": "x"}], [Grade(None, {})]))


# Runs


def tags(result: dict[str, Any]) -> dict[str, str]:
    return dict(MlflowClient(Home.here().tracking_uri).get_run(result["run_id"]).data.tags)


def report_of(result: dict[str, Any]) -> dict[str, Any]:
    (stage,) = [stage for stage in result["stages"] if stage["name"] == "reward"]
    return dict(json.loads((Home.here().store / "reward" / stage["key"] / "report.json").read_text()))


IMPOSSIBLE = "reward.validation.max_hack_percentile=0.0"


def test_a_refused_reward_names_the_checks_that_failed(promoted: dict[str, Any], run: Run) -> None:
    result = run(IMPOSSIBLE, until="reward")
    assert (result["status"], result["failed_checks"]) == ("reward_refused", ["hack_strings"])


def test_a_waiver_is_in_the_report_the_run_and_the_card(promoted: dict[str, Any], run: Run) -> None:
    reason = "hacks are seen to by hand"
    waiver = f"reward.validation.waive.hack_strings={reason}"
    result = run("name=waived", IMPOSSIBLE, waiver, "train.steps=2", "train.evaluate_every=2", "train.lr=3e-4")
    assert result["status"] != "reward_refused"
    assert report_of(result)["waived"] == {"hack_strings": reason}
    assert tags(result)["reward.waived.hack_strings"] == reason
    assert reason in text_of(result["report"])
    version = MlflowClient(Home.here().tracking_uri).get_model_version("waived", result["version"])
    assert reason in version.description


def test_auto_takes_the_group_size_that_the_pilot_advises(promoted: dict[str, Any], run: Run) -> None:
    result = run("train.k=auto", "train.prompts=4", "train.steps=2", until="train")
    (stage,) = [stage for stage in result["stages"] if stage["name"] == "train"]
    facts = json.loads((Home.here().store / "train" / stage["key"] / "facts.json").read_text())
    advised = report_of(result)["advice"]["k"]
    assert facts["k"] == advised in (4, 8, 16, 32)
    assert f"{advised} answers per question" in text_of(result["report"])
