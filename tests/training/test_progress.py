"""Where a run is, and whose it is."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.components.checkpoints.checkpoint import check_identity
from ratchet.components.errors import StoreError
from ratchet.components.launch.ranks import Ranks
from ratchet.components.recipe import Sentinel, Train
from ratchet.components.storage.files import write_json
from ratchet.components.training.progress import (
    Progress,
    environment,
    forget_after,
    metrics_file,
    sampled_rows,
    samples_file,
    training_history,
)
from ratchet.components.training.sentinel import DevResult, SentinelState, Stop
from tests.tiny_models import tiny_policy

STOP = Stop("nonfinite", "skipped_in_a_row", 3.0, 2.0, 6)
HERE = {"torch": "2.11", "device": "cpu"}
ELSEWHERE = {"torch": "2.12", "device": "cpu"}


def kept(progress: Progress, identity: str = "a", where: dict[str, str] = HERE) -> dict[str, object]:
    """The state as a checkpoint gives it back."""
    state: dict[str, object] = json.loads(json.dumps({"step": progress.step, **progress.state(identity, where)}))
    return state


def test_everything_survives_a_checkpoint() -> None:
    sentinel = SentinelState(2)
    sentinel.observe(7, {"entropy": 0.5, "grad_norm": 1.0, "accuracy": 0.25}, 0, 1, Sentinel())
    sentinel.observe_dev(7, DevResult({}, [1.0, 0.0], [0.5, None]), Sentinel())
    progress = Progress(0.07, 6, 48, STOP, True, {"0": 0.25, "4": 0.5}, (1.5, 2), {"3.1": 4096}, sentinel)
    assert Progress.resumed(kept(progress), HERE) == progress


def test_a_stopped_run_is_still_stopped() -> None:
    assert Progress.resumed(kept(Progress(0.0, 3, stop=STOP)), HERE).stopped == "nonfinite"


def test_another_runs_checkpoint_is_refused_with_a_remedy() -> None:
    with pytest.raises(StoreError, match=r"step 4 is of run 'a', not of 'b'\. Delete the checkpoints"):
        check_identity(kept(Progress(0.0, 4)), "b")


def test_a_runs_own_checkpoint_is_not_refused() -> None:
    check_identity(kept(Progress(0.0, 4)), "a")


def test_in_the_same_environment_a_run_stays_exact() -> None:
    assert Progress.resumed(kept(Progress(0.0)), dict(HERE)).exact


def test_in_another_environment_a_run_is_no_longer_exact_and_never_again() -> None:
    moved = Progress.resumed(kept(Progress(0.0)), ELSEWHERE)
    assert not moved.exact
    assert not Progress.resumed(kept(moved, where=ELSEWHERE), ELSEWHERE).exact


def test_an_environment_is_what_a_bitwise_equal_run_needs() -> None:
    before = environment(tiny_policy(), Train())
    assert before == environment(tiny_policy(seed=1), Train(steps=3))
    assert before != environment(tiny_policy(), Train(precision="bf16"))
    assert before != environment(tiny_policy(), Train(deterministic=False))
    assert before != environment(tiny_policy(), Train(micro_tokens=8))
    machine = {"system", "architecture", "processor", "kernels", "threads"}
    settings = {"precision", "micro_tokens", "deterministic"}
    assert before.keys() == {"torch", "transformers", "device"} | machine | settings


class Several(Ranks):
    """Ranks, of which this one is the first; each of the others has another processor."""

    def exchange(self, payload: bytes) -> list[bytes]:
        others = [{**json.loads(payload), "processor": f"P{rank}"} for rank in range(1, self.size)]
        return [payload, *(json.dumps(other).encode() for other in others)]


def test_ranks_on_machines_of_two_kinds_agree_on_one_environment_that_knows_both() -> None:
    alike, mixed = environment(tiny_policy(), Train()), environment(tiny_policy(), Train(), Several(0, 2))
    assert mixed.items() >= alike.items()
    assert mixed["others"] != environment(tiny_policy(), Train(), Several(0, 3))["others"]


def test_faults_the_best_trained_step_is_known_where_the_start_is_better() -> None:
    progress = Progress(0.0, dev_scores={"0": 0.9, "20": 0.3, "40": 0.5, "60": 0.5})
    assert (progress.best_step, progress.best_trained_step) == (0, 40)
    assert Progress(0.0, dev_scores={"0": 0.9}).best_trained_step == 0


def test_the_best_step_is_the_earliest_of_equals() -> None:
    assert Progress(0.0, dev_scores={"0": 0.1, "20": 0.9, "100": 0.3, "40": 0.9}).best_step == 20


def test_steps_are_numbers_and_not_texts() -> None:
    assert Progress(0.0, dev_scores={"100": 0.9, "20": 0.9, "0": 0.1}).best_step == 20  # as text, "100" is before "20"


def test_without_an_evaluation_the_start_is_best() -> None:
    assert Progress(0.0, 7).best_step == 0


@given(st.dictionaries(st.integers(0, 200).map(str), st.floats(-1, 1), min_size=1))
def test_no_step_is_better_than_the_best(scores: dict[str, float]) -> None:
    assert scores[str(Progress(0.0, dev_scores=scores).best_step)] == max(scores.values())


def test_accuracy_on_training_prompts_is_averaged_since_it_was_last_asked_for() -> None:
    progress = Progress(0.0)
    for accuracy in (0.25, None, 0.75):
        progress.note_accuracy(accuracy)
    assert progress.train_accuracy_since_evaluation() == 0.5
    progress.note_accuracy(0.0)
    assert progress.train_accuracy_since_evaluation() == 0.0
    assert progress.train_accuracy_since_evaluation() is None


def test_the_history_is_in_order_of_step(tmp_path: Path) -> None:
    for step in (10, 0, 2):
        write_json(metrics_file(tmp_path, step), [[step, {"reward": step / 2}]])
    assert training_history(tmp_path) == [(0, {"reward": 0.0}), (2, {"reward": 1.0}), (10, {"reward": 5.0})]


def test_samples_are_in_order_of_step(tmp_path: Path) -> None:
    for step in (10, 2):
        write_json(samples_file(tmp_path, step), [{"at": step, "row": row} for row in range(2)])
    assert [(row["at"], row["row"]) for row in sampled_rows(tmp_path)] == [(2, 0), (2, 1), (10, 0), (10, 1)]


def test_a_run_without_figures_has_no_history(tmp_path: Path) -> None:
    assert training_history(tmp_path) == sampled_rows(tmp_path) == []


def test_figures_after_the_checkpoint_that_training_goes_on_from_are_forgotten(tmp_path: Path) -> None:
    for step in (2, 4, 5):
        write_json(metrics_file(tmp_path, step), [[step, {"loss": 0.0}]])
    write_json(samples_file(tmp_path, 5), [{"prompt": "p"}])
    assert forget_after(tmp_path, 2) == 5
    assert [step for step, _ in training_history(tmp_path)] == [2]
    assert sampled_rows(tmp_path) == []
    assert forget_after(tmp_path, 2) == 2
