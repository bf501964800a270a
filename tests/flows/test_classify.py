"""A task whose gold is not a number, from rows to champion."""

from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from ratchet.components.data.examples import generate
from ratchet.components.files import read_json, read_json_lines
from ratchet.components.graders.build import grader_digests
from ratchet.components.home import Home
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.recipe import load_recipe
from tests.places import ROOT

RECIPE = ROOT / "tests" / "recipes" / "classify.yaml"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def classified(shared_project: Path) -> dict[str, Any]:
    from ratchet.flows.finetune import finetune

    return finetune(recipe=str(RECIPE))


def stage(result: dict[str, Any], name: str) -> Path:
    key = next(one["key"] for one in result["stages"] if one["name"] == name)
    return Home.here().store / name / key


def test_a_gold_that_is_a_label_promotes(classified: dict[str, Any]) -> None:
    assert (classified["status"], classified["verdict"]) == ("promoted", "PROMOTE")
    figures = read_json(stage(classified, "evaluate") / "summary.json")
    before, after = (figures[f"{arm}_sampled"]["accuracy"]["value"] for arm in ("incumbent", "challenger"))
    assert before + 0.1 < after
    assert "format_rate" not in figures["challenger_sampled"]


def test_every_judgement_is_the_labels(classified: dict[str, Any]) -> None:
    labels = {row["question"]: row["answer"] for row in generate("tickets", demo_noise=0.0, seed=1)}
    rows = read_json_lines(stage(classified, "evaluate") / "challenger_sampled.jsonl")
    assert {row["answer"] for row in rows} > {"billing", "repair"}
    assert all(row["passed"] == (row["answer"] == labels[row["prompt"]]) for row in rows)
    assert any("lamps" in row["slices"] for row in rows)


def test_the_golds_digest_stands_in_verdict_card_and_lineage(classified: dict[str, Any]) -> None:
    digest = grader_digests(load_recipe(RECIPE))["gold"]
    (verdict,) = Ledger(Home.here().ledger).verdicts("classify")
    assert verdict["record"]["gold"] == digest
    client = MlflowClient(Home.here().tracking_uri)
    version = client.get_model_version_by_alias("classify", "champion")
    assert digest in version.description
    lineage = Path(client.download_artifacts(version.run_id, "lineage.json"))
    assert read_json(lineage)["gold"] == digest


def test_figures_of_training_are_the_golds(classified: dict[str, Any]) -> None:
    points = read_json_lines(stage(classified, "train") / "metrics.jsonl")
    assert all(0 < point["values"]["eval_sampled_accuracy"] < 1 for point in points if "eval_proxy" in point["values"])
    same = [(p["values"]["reward"], p["values"]["accuracy"]) for p in points if "reward" in p["values"]]
    assert len(same) == 32
    assert all(reward == pytest.approx(gold) for reward, gold in same)  # the gold is the reward here
