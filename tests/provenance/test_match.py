"""When a version cannot be rebuilt, and what is said of one that was."""

from typing import Any

import pytest

from ratchet.components.code.source_code import NOT_INSTALLED
from ratchet.components.provenance.match import Here, Rebuilt, judged, refusals, remedy, same_class, stage_matches
from tests.provenance.records import ONE, THREE, TWO, lineage

RECORD = lineage(metrics={"eval_sampled_accuracy": 0.6, "eval_format_rate": 1.0})
FILES = {stage.name: dict(stage.files) for stage in lineage().stages}


def rebuilt(**changes: Any) -> Rebuilt:
    """The record's own version, made again on the same machine."""
    record = lineage()
    values: dict[str, Any] = {
        "weights": ONE,
        "policy": THREE,
        "stages": FILES,
        "metrics": {"eval_sampled_accuracy": 0.6, "eval_format_rate": 1.0},
        "machine": record.machine.model_dump(),
        "libraries": record.libraries,
    }
    return Rebuilt(**{**values, **changes})


def test_where_a_stage_was_made_is_not_compared() -> None:
    made = {name: {**files, "environment.json": THREE} for name, files in FILES.items()}
    assert judged(RECORD, rebuilt(stages=made, weights=TWO), 0.05)["first_difference"] is None


def dirty(*paths: str) -> dict[str, Any]:
    return {**lineage().code.model_dump(), "changed": list(paths), "diff_sha256": TWO}


def test_a_version_from_committed_code_can_be_rebuilt() -> None:
    assert refusals(lineage(), Here("lock", None, TWO)) == []
    assert refusals(lineage(), Here("current", THREE, TWO)) == []


@pytest.mark.parametrize(
    ("path", "kind"),
    [("flows/stages.py", "code"), ("recipes/quickstart.yaml", "recipe"), ("constraints.txt", "constraints")],
)
def test_what_was_not_committed_is_the_reason(path: str, kind: str) -> None:
    assert refusals(lineage(code=dirty(path)), Here("lock", None, TWO)) == [f"it was made from uncommitted {kind} ({path})"]


def test_faults_a_pointer_that_was_not_committed_is_no_reason() -> None:
    assert refusals(lineage(code=dirty("data.dvc", "sub/data.mine.dvc")), Here("lock", None, TWO)) == []
    assert refusals(lineage(code=dirty("data.dvc", "flows/x.py")), Here("lock", None, TWO)) == [
        "it was made from uncommitted code (flows/x.py)"
    ]


def test_a_changed_table_is_a_reason_unless_its_content_is_recorded() -> None:
    code = {**lineage().code.model_dump(), "tables": ["rows.jsonl", "towns.csv"]}
    assert refusals(lineage(code=code, files={"rows.jsonl": ONE}), Here("lock", None, TWO)) == [
        "it was made with uncommitted changes of towns.csv, whose content is not recorded"
    ]
    assert refusals(lineage(code=code, files={"rows.jsonl": ONE, "towns.csv": TWO}), Here("lock", None, TWO)) == []


def test_every_reason_is_given() -> None:
    code = {**lineage().code.model_dump(), "commit": "unknown"}
    policy = {"kind": "version", "version": None, "weights_sha256": TWO}
    reasons = refusals(lineage(code=code, lock_sha256=None, policy=policy, off_lock={"torch": "9"}), Here("lock", None, TWO))
    words = ("checkout", "without constraints.txt", "not registered", "instead of 9")
    assert [word in reason for word, reason in zip(words, reasons, strict=True)] == [True] * 4


AGAIN = f"git checkout {'c' * 12} -- constraints.txt"


@pytest.mark.parametrize(
    ("lock", "said"), [(TWO, "constraints.txt here differs from its own"), (None, "constraints.txt is not here")]
)
def test_the_running_environment_serves_only_with_the_same_lock_which_its_commit_has(lock: str | None, said: str) -> None:
    assert refusals(lineage(), Here("current", lock, TWO)) == [said]
    assert remedy(lineage(), Here("current", lock, TWO)) == f"To rebuild it, run `{AGAIN}`, or use --environment lock."
    off = lineage(off_lock={"torch": "9"})  # which no clean environment can be
    assert remedy(off, Here("current", lock, TWO)) == f"To rebuild it, run `{AGAIN}`."


def test_libraries_that_differed_from_the_lock_may_still_be_those_that_run() -> None:
    off = lineage(off_lock={"torch": "9"})
    assert len(refusals(off, Here("lock", THREE, TWO))) == 1
    assert remedy(off, Here("lock", THREE, TWO)) == "To rebuild it, use --environment current."


@pytest.mark.parametrize("environment", ["lock", "current"])
def test_of_a_version_without_a_commit_the_remedy_is_a_candidate_that_is_not_known_yet(environment: str) -> None:
    found = remedy(lineage(code={**lineage().code.model_dump(), "commit": "unknown"}), Here(environment, THREE, TWO))
    assert "commit the code, the recipe and constraints.txt" in found
    assert found.endswith("ratchet run --set seed=4.")  # the record has 3
    assert "--environment" not in found


@pytest.mark.parametrize(("environment", "running", "reasons"), [("current", TWO, 0), ("current", ONE, 1), ("lock", ONE, 0)])
def test_a_release_that_does_not_run_needs_an_environment_of_its_own(environment: str, running: str, reasons: int) -> None:
    record = lineage(code={**lineage().code.model_dump(), "release": "0.4.0"})
    found = refusals(record, Here(environment, THREE, running))
    assert ["Ratchet 0.4.0 made it" in reason for reason in found] == [True] * reasons
    assert not reasons or remedy(record, Here(environment, THREE, running)) == "To rebuild it, use --environment lock."


@pytest.mark.parametrize(("environment", "reasons"), [("lock", 1), ("current", 0)])
def test_code_that_was_not_installed_can_only_run_where_it_is(environment: str, reasons: int) -> None:
    code = {**lineage().code.model_dump(), "release": NOT_INSTALLED}
    assert len(refusals(lineage(code=code), Here(environment, THREE, TWO))) == reasons


@pytest.mark.parametrize(("recorded", "match"), [(THREE, "equal"), (None, "equal"), (TWO, "differs")])
def test_faults_equal_weights_with_other_files_beside_them_differ(recorded: str | None, match: str) -> None:
    record = lineage(policy_sha256=recorded)  # None in the records of earlier releases
    assert judged(record, rebuilt(), 1.0)["match"] == match


def test_equal_weights_are_equal() -> None:
    found = judged(lineage(), rebuilt(), 0.0)
    assert (found["match"], found["first_difference"], found["same_class"]) == ("equal", None, True)


def test_on_the_same_class_of_machine_other_weights_differ_however_good() -> None:
    assert judged(RECORD, rebuilt(weights=TWO), 1.0)["match"] == "differs"


OTHER = {**lineage().machine.model_dump(), "processor": "Q"}


@pytest.mark.parametrize(("tolerance", "match"), [(0.05, "within tolerance"), (0.01, "differs")])
def test_on_another_class_the_dev_figures_decide(tolerance: float, match: str) -> None:
    metrics = {"eval_sampled_accuracy": 0.63, "eval_format_rate": 1.0}
    assert judged(RECORD, rebuilt(weights=TWO, machine=OTHER, metrics=metrics), tolerance)["match"] == match


@pytest.mark.parametrize("metrics", [{}, {"eval_sampled_accuracy": float("nan"), "eval_format_rate": 1.0}])
def test_a_figure_that_is_missing_or_not_a_number_differs(metrics: dict[str, float]) -> None:
    assert judged(RECORD, rebuilt(weights=TWO, machine=OTHER, metrics=metrics), 1.0)["match"] == "differs"


def test_other_libraries_or_an_inexact_training_are_another_class() -> None:
    assert not same_class(lineage(), rebuilt(libraries={"torch": "9"}))
    assert not same_class(lineage(exact=False), rebuilt())
    assert same_class(lineage(), rebuilt(libraries={"torch": "2.10.0"}))  # one that only we have does not matter


@pytest.mark.parametrize(("train", "same"), [({"deterministic": True}, True), ({"deterministic": False}, False), ({}, False)])
def test_on_one_gpu_and_driver_a_deterministic_training_gives_the_same_bits(train: dict[str, bool], same: bool) -> None:
    machine = {**lineage().machine.model_dump(), "gpu": "H200", "driver": "580.1"}
    record = lineage(machine=machine, recipe={"name": "m", "seed": 3, "train": train})
    assert same_class(record, rebuilt(machine=machine)) == same
    assert not same_class(record, rebuilt(machine={**machine, "driver": "590.1"}))


def test_a_commit_that_knew_no_driver_rebuilds_on_a_cpu_to_the_bit() -> None:
    machine = {name: value for name, value in lineage().machine.model_dump().items() if name != "driver"}
    assert same_class(lineage(), rebuilt(machine=machine))


def test_the_first_stage_that_differs_is_named() -> None:
    made = {**FILES, "warmup": {"model/model.safetensors": THREE}, "train": {"model/model.safetensors": TWO}}
    found = judged(lineage(), rebuilt(stages=made, weights=TWO), 0.0)
    assert found["first_difference"] == {"name": "warmup", "equal": False, "files": ["model/model.safetensors"]}
    assert [stage["equal"] for stage in found["stages"]] == [True, False, True, False]


def test_files_that_hold_times_do_not_count() -> None:
    made = {**FILES, "train": {**FILES["train"], "metrics.jsonl": THREE}}
    assert all(stage.equal for stage in stage_matches(lineage().stages, made))


def test_what_was_found_of_the_gold_is_compared_where_it_was_recorded() -> None:
    gold = {"name": "gold", "key": "e" * 32, "files": {"report.json": ONE}}
    stages = [*lineage().model_dump()["stages"], gold]
    assert judged(lineage(stages=stages), rebuilt(stages={**FILES, "gold": gold["files"]}), 0.0)["first_difference"] is None
    found = judged(lineage(stages=stages), rebuilt(stages={**FILES, "gold": {"report.json": TWO}}), 0.0)
    assert found["first_difference"] == {"name": "gold", "equal": False, "files": ["report.json"]}


def test_an_older_record_without_the_gold_is_equal_to_a_rebuild_that_has_it() -> None:
    found = judged(lineage(), rebuilt(stages={**FILES, "gold": {"report.json": ONE}}), 0.0)
    assert (found["match"], found["first_difference"]) == ("equal", None)


def test_a_stage_that_was_not_made_differs() -> None:
    made = {name: files for name, files in FILES.items() if name != "reward"}
    assert [stage.name for stage in stage_matches(lineage().stages, made) if not stage.equal] == ["reward"]


def test_of_a_champion_that_training_started_from_only_the_weights_count() -> None:
    files = {"model/model.safetensors": TWO, "model/tokenizer.json": ONE}
    stages = [{"name": "champion", "key": "b" * 32, "files": files}]
    made = {"warmup": {"model/model.safetensors": TWO, "model/tokenizer.json": THREE}}
    assert all(stage.equal for stage in stage_matches(lineage(stages=stages).stages, made))
    made["warmup"]["model/model.safetensors"] = THREE
    assert not any(stage.equal for stage in stage_matches(lineage(stages=stages).stages, made))


def test_a_restored_dataset_has_no_account_of_its_preparation_and_is_equal_all_the_same() -> None:
    restored = {"data/train.jsonl": ONE, "data.dvc": TWO}
    files = {**restored, "report.html": THREE, "steps.json": THREE}
    stages = [{"name": "data", "key": "b" * 32, "files": files}]
    assert [stage.files for stage in stage_matches(lineage(stages=stages).stages, {"data": restored})] == [[]]
    restored["data/train.jsonl"] = TWO
    assert [stage.files for stage in stage_matches(lineage(stages=stages).stages, {"data": restored})] == [["data/train.jsonl"]]


def test_a_version_of_an_outside_engine_is_compared_by_its_figures() -> None:
    record = lineage(engine="vllm 0.31.0", exact=False, metrics=RECORD.metrics)
    found = judged(record, rebuilt(weights=TWO), 0.05)
    assert (found["match"], found["same_class"], found["engine"]) == ("within tolerance", False, "vllm 0.31.0")
    assert judged(lineage(), rebuilt(), 0.05)["engine"] is None
