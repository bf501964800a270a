"""What a run publishes: a version once, a report always, sealed figures only of a retired fold."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ratchet.components.gate.unsealing import publish_retired
from ratchet.components.provenance.lineage import FILE
from ratchet.components.records import Outcome
from ratchet.components.run.columns import before_and_after
from ratchet.components.run.outcome import Status
from ratchet.components.run.page import base_of, links_of, report_values
from ratchet.components.run.publish import compared_figures, complete_reports, dev_metrics, publish_candidate, publish_outcome
from ratchet.components.run.record import Ending, Run
from ratchet.components.stages.results import ChampionStage, DataStage, FineTuned, Learnt, RewardStage, WarmupStage
from ratchet.components.stages.train import TrainStage
from ratchet.components.storage.files import write_json
from ratchet.components.storage.store import ENVIRONMENT
from tests.run.runs import CHECK, make_stages, new_run, stage, tracker_of, verdict
from tests.stages.environments import environment

SEALED = {"fold": "sealed_0", "fold_digest": "f", "figures": {"p_value": 0.0123456}, "sealed_reasons": ["sealed words"]}


ASKED = [{"role": "user", "literals": ["As JSON: ", ""], "paths": [["text"]]}]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    found = new_run(tmp_path)
    make_stages(found)
    return found


def parts(run: Run) -> tuple[DataStage, RewardStage, TrainStage]:
    assert run.made.data is not None and run.made.reward is not None and run.made.candidate is not None
    return run.made.data, run.made.reward, run.made.candidate


def test_a_version_keeps_the_task_for_serving(tmp_path: Path) -> None:
    prompt, rows = tmp_path / "prompt.txt", tmp_path / "rows.jsonl"
    prompt.write_text("As JSON: {{item.text}}\n", encoding="utf-8")
    rows.touch()
    run = new_run(tmp_path, f"task.prompt=file:{prompt}", f"data.source={rows}")
    make_stages(run)
    data, _, candidate = parts(run)
    run.context.seen.digest(prompt)  # as preparation does
    publish_candidate(run, data, candidate)
    assert tracker_of(run).served["1"]["turns"] == ASKED
    prompt.write_text("As YAML: {{item.text}}\n", encoding="utf-8")
    publish_candidate(run, data, candidate)
    assert tracker_of(run).served["1"]["turns"] is None


def published(run: Run, ending: Ending) -> str:
    """The text of the report."""
    run.ending = ending
    path = publish_outcome(run)
    assert path is not None
    return Path(path).read_text(encoding="utf-8")


def test_a_run_that_ended_before_its_gold_was_validated_has_a_reason_and_no_report(run: Run) -> None:
    data, *_ = parts(run)
    run.made.gold = run.made.reward = None
    run.ending = Ending(Status.INVALID, remark="no sealed fold is left\x1b")
    assert publish_outcome(run) is None
    assert tracker_of(run).tagged["run0"]["reason"] == "no sealed fold is left\\u001b"
    assert tracker_of(run).inputs == [("run0", data.version)]
    assert not run.project.home.reports.exists()


# The version


def test_the_tags_are_of_the_code_that_trained_and_of_the_record(run: Run) -> None:
    data, _, candidate = parts(run)
    other = environment({"processor": "Q"}).model_dump(mode="json")
    start = stage(run, WarmupStage, {"model/model.safetensors": "start", ENVIRONMENT: other}, key="deadbeef")
    run.made.stages[2] = start
    publish_candidate(run, data, candidate)
    tags = tracker_of(run).tagged["version 1"]
    assert (tags["commit"], tags["dirty"], tags["exact"]) == (environment().code.commit, "false", "false")


def test_a_candidate_is_registered_once_and_is_the_challenger(run: Run) -> None:
    data, _, candidate = parts(run)
    assert publish_candidate(run, data, candidate) == "1"
    assert tracker_of(run).aliases == {"challenger": "1"}
    assert tracker_of(run).served["1"] == {"max_new_tokens": run.recipe.policy.max_new_tokens, "turns": []}
    assert FILE in tracker_of(run).artifacts.pop("run0")
    assert publish_candidate(run, data, candidate) == "1"
    assert FILE not in tracker_of(run).artifacts.get("run0", {})  # the record of the run that registered it stays


def test_a_version_says_what_it_was_made_from(run: Run) -> None:
    data, _, candidate = parts(run)
    publish_candidate(run, data, candidate)
    tags = tracker_of(run).tagged["version 1"]
    assert (tags["weights_sha256"], tags["policy_sha256"]) == (candidate.weights, candidate.policy_digest)
    assert tags["dataset_md5"] == data.version
    assert (tags["verdict"], tags["exact"], tags["training_status"]) == ("pending", "true", "finished")
    assert len(tags["lineage_sha256"]) == 64


def test_nothing_is_left_of_the_copy_that_was_uploaded(run: Run) -> None:
    data, _, candidate = parts(run)
    publish_candidate(run, data, candidate)
    assert list(run.project.home.workspaces.iterdir()) == []
    assert (candidate.model / "model.safetensors").is_file()


# The report


def test_runs_compare_by_before_and_after_and_by_curves_and_have_their_whole_recipe(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [(8, {"reward": 0.5, "num_samples": 4.0})]
    monkeypatch.setattr(TrainStage, "points", points)
    published(run, Ending(Status.FINISHED))
    assert run.made.dev is not None and compared_figures(run, points)[0] == (0, before_and_after(run.made.dev.summary))
    shown = {"dev/before": 0.5, "dev/after": 0.5, "dev/gain": 0.0, "curve/reward": 0.5, "curve/samples": 4.0}
    assert tracker_of(run).logged["run0"].items() >= shown.items()
    assert tracker_of(run).artifacts["run0"]["recipe.yaml"] is None


def test_a_run_that_ended_early_has_a_report_of_what_it_made(run: Run) -> None:
    run.made.candidate = run.made.dev = None
    text = published(run, Ending(Status.REWARD_REFUSED, failed_checks=["gold_references"]))
    assert "The grader or the reward cannot be trusted yet." in text
    assert "Failed: “References are right”." in text
    assert "verdict bad" in text
    assert tracker_of(run).artifacts["run0"] == {
        "run0.html": "report", "data.dvc": "data", "report.html": "data", "report.json": "reward",
        "broken.jsonl": "gold", "missed.jsonl": "gold", "recipe.yaml": None,
    }  # fmt: skip
    assert tracker_of(run).logged == {}


def test_a_run_whose_gold_was_refused_has_a_report_of_the_gold(run: Run) -> None:
    assert run.made.gold is not None
    run.made.reward = run.made.candidate = run.made.dev = None
    failed = replace(CHECK, value=0.5, passed=False, detail="not of 00af <b>")
    run.made.gold.__dict__["_report"] = {"checks": [asdict(failed)], "mutation_score": 0.75}
    text = published(run, Ending(Status.REWARD_REFUSED))
    assert "Can the grader be trusted?" in text
    assert "0 of 1 checks passed" in text
    assert "not of 00af &lt;b&gt;" in text
    assert "</span> of the gold: <strong>0.750</strong>" in text


def test_the_mutation_score_stands_beside_the_accuracy_in_report_and_card(run: Run) -> None:
    run.made.version = "1"
    text = published(run, Ending(Status.REFUSED, verdict()))
    assert text.index("sampled accuracy") < text.index("<strong>0.750</strong>") < text.index("<h2>Answers side by side")
    assert "Mutation score of this gold: **0.750**" in tracker_of(run).cards["1"]


def test_a_waiver_is_a_tag_with_its_reason(run: Run) -> None:
    published(run, Ending(Status.FINISHED))
    assert tracker_of(run).tagged["run0"]["reward.waived.length"] == "known <b>"
    assert tracker_of(run).tagged["run0"]["training_status"] == "finished"


def test_the_dataset_is_an_input_of_the_run(run: Run) -> None:
    published(run, Ending(Status.FINISHED))
    assert tracker_of(run).inputs == [("run0", parts(run)[0].version)]


def test_samples_and_figures_on_dev_go_to_mlflow(run: Run) -> None:
    published(run, Ending(Status.FINISHED))
    (row,) = tracker_of(run).tables["samples.json"]
    assert row["prompt"] == "p\\u001b"
    assert tracker_of(run).logged["run0"]["dev/challenger_sampled/accuracy"] == 0.5


def test_a_confusion_matrix_goes_to_mlflow_and_into_the_report(run: Run) -> None:
    assert run.made.dev is not None
    matrix = {"labels": ["billing", "bug"], "counts": [[1, 0, 0], [0, 1, 0]]}
    write_json(run.made.dev.path / "confusion.json", {"challenger_sampled": matrix})
    text = published(run, Ending(Status.FINISHED))
    assert tracker_of(run).artifacts["run0"]["confusion.json"] == "evaluation"
    assert "Confusion, after" in text


def test_what_was_not_measured_is_no_metric(run: Run) -> None:
    assert run.made.dev is not None
    run.made.dev.summary["challenger_sampled"] = {"kl": {"value": None}, "pass@2": {"value": 0.25}}
    found = dev_metrics(run.made.dev)
    assert "dev/challenger_sampled/kl" not in found
    assert found["dev/challenger_sampled/pass_2"] == 0.25


def test_a_remark_stands_below_the_verdicts_reasons(run: Run) -> None:
    run.ending = Ending(Status.REFUSED, verdict(Outcome.PROMOTE), remark="not approved in time")
    data, reward, _ = parts(run)
    assert report_values(run, data, reward.report, retired=False)["reasons"] == ["a reason", "not approved in time"]


def test_the_gate_verb_does_not_say_why_before_the_run_that_promotes(run: Run) -> None:
    run.ending = Ending(Status.FINISHED, verdict(Outcome.PROMOTE))
    data, reward, _ = parts(run)
    assert report_values(run, data, reward.report, retired=False)["reasons"] == []


def test_the_report_shows_both_arms_answers_with_the_reference(run: Run) -> None:
    run.ending = Ending(Status.FINISHED)
    (group,) = report_values(run, parts(run)[0], parts(run)[1].report, retired=False)["groups"]
    assert (group.kind, group.count) == ("right", 1)
    (pair,) = group.shown
    assert (pair.reference, pair.before.text, pair.after.text) == ("#### 7", "c", "c")


@pytest.mark.parametrize(
    ("uri", "links"),
    [
        ("sqlite:///mlflow.db", ["index.html"]),
        ("https://me:secret@ml.example/base/", ["index.html", "https://ml.example/base/#/runs/run0",
                                                "https://ml.example/base/#/models/micro/versions/1"]),
    ],
)  # fmt: skip
def test_a_report_links_to_mlflow_where_it_is_a_server(
    run: Run, monkeypatch: pytest.MonkeyPatch, uri: str, links: list[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    run.run_id, run.made.version = "run0", "1"
    assert [address for _, address in links_of(run)] == links


# Sealed figures


def test_figures_of_a_fold_that_is_in_use_stay_sealed(run: Run) -> None:
    run.made.version = "1"
    text = published(run, Ending(Status.REFUSED, verdict(**SEALED)))
    assert "p_value" not in text
    assert "sealed words" not in text + tracker_of(run).cards["1"]
    assert not [name for name in tracker_of(run).logged["run0"] if name.startswith("sealed/")]


def test_figures_of_a_retired_fold_are_published(run: Run) -> None:
    run.made.version = "1"
    run.ledger.retire("micro", "f", "spent")
    text = published(run, Ending(Status.REFUSED, verdict(**SEALED)))
    assert "0.01235" in text
    assert "sealed words" in text
    assert tracker_of(run).logged["run0"]["sealed/p_value"] == 0.0123456


def test_a_report_on_a_retired_fold_does_not_say_that_its_figures_are_sealed(run: Run) -> None:
    run.made.version = "1"
    reason = (
        "not every rule held on sealed_0 (use 1 of 2); its figures stay sealed until the fold is retired, so that no challenger"
    )
    found = replace(verdict(**SEALED), reasons=[reason], sealed_reasons=["floor: accuracy above 0 (bound 0.575): held"])
    before = published(run, Ending(Status.REFUSED, found))
    assert "its figures stay sealed" in before
    assert "0.575" not in before
    run.ledger.retire("micro", "f", "promoted")
    after = published(run, Ending(Status.REFUSED, found))
    assert "not every rule held on sealed_0 (use 1 of 2); the fold is retired now, so its figures are shown." in after
    assert "<li>Accuracy above 0: surely at least 0.575. Held.</li>" in after


def test_faults_the_page_of_each_version_shows_its_sealed_figures_once_the_fold_is_retired(run: Run) -> None:
    tracker, found = tracker_of(run), verdict(**SEALED)
    run.made.version = tracker.registered["candidate"] = "1"
    tracker.registered["another"] = "2"
    run.ledger.record_verdict("micro", found.as_json(), found.digest, "run0")
    published(run, Ending(Status.REFUSED, found))
    assert "published here once their fold is retired" in tracker.cards["1"]
    assert "p_value" not in tracker.cards["1"]
    run.ledger.retire("micro", "f", "promoted")
    run.ledger.note_published(found.digest, "run0")  # killed after the run's own verdict was published
    publish_retired(run.context, run.tracker, run.ledger)
    assert "| p_value | 0.01235 |" in tracker.cards["1"]
    assert "**REJECT**, with every figure and reason in `verdict.json` of run run0" in tracker.cards["1"]
    assert "published here once" not in tracker.cards["1"]
    assert "2" not in tracker.cards
    before = dict(tracker.cards)
    published(run, Ending(Status.REFUSED, found))
    assert tracker.cards == before


def test_the_card_names_the_verdict_and_what_the_version_is(run: Run) -> None:
    run.made.version = "1"
    published(run, Ending(Status.REFUSED, verdict()))
    card, tags = tracker_of(run).cards["1"], tracker_of(run).tagged["version 1"]
    assert "REJECT" in card
    assert parts(run)[0].version in card
    assert tags == {"verdict": "REJECT", "verdict_sha256": verdict().public_digest}


@pytest.mark.parametrize(
    ("overrides", "facts", "expected"),
    [
        ([], None, "tiny Llama-type policy, warmed up on the demonstrations"),
        (["policy.warmup.until=0.6"], Learnt(0.6, 0.7, 65, 700), "tiny Llama-type policy, warmed up on the demonstrations, "
         "a sample is the demonstration in 0.70 of cases after 65 of at most 700 steps"),
        (["policy.model=org/m"], None, "org/m"),
        (["policy.model=org/m", "policy.warmup={steps: 9}"], FineTuned("w", "p", 7, 2, 0, 9),
         "org/m, fine-tuned on 7 demonstrations, rows left out: 2 that are too long"),
    ],
)  # fmt: skip
def test_a_base_model_is_said_with_what_its_warm_up_found(
    tmp_path: Path, overrides: list[str], facts: FineTuned | Learnt | None, expected: str
) -> None:
    run = new_run(tmp_path, *overrides)
    files = {"facts.json": asdict(facts)} if facts else {}
    run.made.stages = [stage(run, WarmupStage, {"model/model.safetensors": "start", **files})]
    assert base_of(run) == expected


def test_the_base_of_a_version_that_was_trained_from_the_champion_is_the_champion(tmp_path: Path) -> None:
    for overrides, expected in ((["policy.start=champion"], "the champion, which began as org/m"), ([], "org/m")):
        run = new_run(tmp_path, "policy.model=org/m", *overrides)
        run.made.stages = [stage(run, ChampionStage, {"model/model.safetensors": "champion"})]
        assert base_of(run) == expected


def test_an_earlier_report_shows_its_test_once_its_fold_is_retired(run: Run) -> None:
    found = replace(verdict(**SEALED), use=1, sealed_reasons=["floor: accuracy above 0 (bound 0.575): held"])
    assert found.tested
    run.made.version = "1"
    run.ledger.record_verdict("micro", found.as_json(), found.digest, "run0")
    hidden = published(run, Ending(Status.REFUSED, found))
    complete_reports(run)
    path = run.project.home.reports / "run0.html"
    assert "stay hidden" in hidden and path.read_text(encoding="utf-8") == hidden
    run.ledger.retire("micro", "f", "promoted")
    tracker_of(run).artifacts.clear()
    complete_reports(run)
    shown = path.read_text(encoding="utf-8")
    assert "stay hidden" not in shown
    assert "(sealed_0, now retired)" in shown and "0.01235" in shown
    assert "<li>Accuracy above 0: surely at least 0.575. Held.</li>" in shown
    assert shown[: shown.index("<h2>The test")].rstrip() == hidden[: hidden.index("<!-- hidden test -->")].rstrip()
    assert tracker_of(run).artifacts == {"run0": {"run0.html": "report"}}
    tracker_of(run).artifacts.clear()
    complete_reports(run)
    assert tracker_of(run).artifacts == {}
