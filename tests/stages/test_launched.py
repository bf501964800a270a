"""What a run tells of a job's figures, and which launches a machine cannot start."""

import errno
import os
from pathlib import Path

import pytest
import torch

from ratchet.components.errors import MissingExtraError, RecipeError
from ratchet.components.launch.job import Job
from ratchet.components.recipe import load_recipe
from ratchet.components.stages import launched
from ratchet.components.stages.launched import Relay, check_launch, end_left_job, request_of
from ratchet.components.stages.loaded_training import Order
from ratchet.components.storage.files import write_json
from ratchet.components.training.progress import metrics_file, samples_file
from tests.places import MICRO
from tests.stages.by_hand import Watching
from tests.stages.tiny_training import Training


def commit(checkpoints: Path, step: int, sampled: bool = False) -> None:
    """What a training leaves at a checkpoint: figures first, then the checkpoint."""
    write_json(metrics_file(checkpoints, step), [[step, {"loss": float(step)}]])
    if sampled:
        write_json(samples_file(checkpoints, step), [{"prompt": "p"}])
    (checkpoints / f"step_{step:06d}").mkdir()


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def relay(checkpoints: Path) -> tuple[Relay, Watching]:
    observer = Watching()
    return Relay(Job(checkpoints / "job"), checkpoints, observer), observer


def test_each_figure_is_passed_on_once_when_its_checkpoint_is_durable(checkpoints: Path) -> None:
    passing, seen = relay(checkpoints)
    passing.look()
    commit(checkpoints, 0)
    passing.look()
    write_json(metrics_file(checkpoints, 2), [[1, {"loss": 1.0}], [2, {"loss": 2.0}]])  # its checkpoint is still written
    passing.look()
    assert seen.points == [(0, {"loss": 0.0})]
    commit(checkpoints, 4, sampled=True)
    passing.look()
    passing.look()
    assert [step for step, _ in seen.points] == [0, 1, 2, 4]
    assert (seen.tables, seen.repeated) == ([4], [])


def test_progress_is_passed_on_when_it_changes(checkpoints: Path) -> None:
    passing, seen = relay(checkpoints)
    (checkpoints / "job").mkdir(parents=True)
    passing.job.progress(1, 9, "reward 0.5")
    passing.look()
    passing.look()
    assert seen.steps == [("train", 1, 9)]


def test_a_later_run_gets_the_last_figures_told_and_what_was_made_since_as_figures_that_may_be_known(checkpoints: Path) -> None:
    first, _ = relay(checkpoints)
    commit(checkpoints, 0)
    commit(checkpoints, 2, sampled=True)
    first.look()
    commit(checkpoints, 4, sampled=True)  # while no run followed
    _, seen = relay(checkpoints)
    assert [step for step, _ in seen.repeated] == [2, 4]
    assert (seen.points, seen.tables) == ([], [2, 4])


def test_after_a_training_in_one_process_all_its_figures_may_be_known(checkpoints: Path) -> None:
    commit(checkpoints, 0)
    commit(checkpoints, 2)
    passing, seen = relay(checkpoints)
    assert [step for step, _ in seen.repeated] == [0, 2]
    passing.look()
    assert seen.points == []


def lose(checkpoints: Path, step: int) -> None:
    """What a rank does to a damaged checkpoint before it begins from the one before."""
    (checkpoints / f"step_{step:06d}").rename(checkpoints / f"corrupt.step_{step:06d}")
    metrics_file(checkpoints, step).unlink()


def made_again(checkpoints: Path) -> None:
    """Two steps in one checkpoint, the first of which an earlier process had told."""
    write_json(metrics_file(checkpoints, 6), [[5, {"loss": 5.5}], [6, {"loss": 6.0}]])
    (checkpoints / "step_000006").mkdir()


@pytest.mark.parametrize("later", [False, True])
def test_steps_that_are_made_again_since_their_checkpoint_was_damaged_may_be_known(checkpoints: Path, later: bool) -> None:
    first, _ = relay(checkpoints)
    commit(checkpoints, 4)
    commit(checkpoints, 5)
    first.look()
    passing, seen = relay(checkpoints)
    lose(checkpoints, 5)
    if later:  # the run was killed meanwhile
        passing, seen = relay(checkpoints)
    seen.repeated.clear()
    made_again(checkpoints)
    passing.look()
    assert (seen.repeated, seen.points) == ([(5, {"loss": 5.5})], [(6, {"loss": 6.0})])


def test_what_a_left_job_made_unseen_is_passed_on_by_a_run_that_trains_itself(tmp_path: Path) -> None:
    training = Training(tmp_path)
    order = Order(training.context().recipe, training.data, training.start, training.reward, "k", tmp_path / "checkpoints")
    first, _ = relay(order.checkpoints)
    commit(order.checkpoints, 0)
    first.look()
    commit(order.checkpoints, 2)
    seen = Watching()
    end_left_job(order, seen, lambda: False)
    assert seen.repeated == []  # there was no job
    first.job.folder.mkdir()
    end_left_job(order, seen, lambda: False)
    assert [step for step, _ in seen.repeated] == [0, 2]


def test_more_ranks_than_devices_are_refused_on_a_gpu_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    auto = "device=auto"
    check_launch(load_recipe(MICRO, [auto, "launch={kind: torchrun, workers: 2}"]))
    check_launch(load_recipe(MICRO, [auto, "launch={kind: torchrun, workers: 4, nodes: 2, address: 'a:1'}"]))
    check_launch(load_recipe(MICRO, [auto, "launch={kind: ray, workers: 4, address: auto}"]))  # Ray knows its cluster
    check_launch(load_recipe(MICRO, ["device=cpu", "launch={kind: torchrun, workers: 4}"]))
    with pytest.raises(RecipeError, match=r"4 ranks on this machine, each on a CUDA device of its own, and there are 2"):
        check_launch(load_recipe(MICRO, [auto, "launch={kind: torchrun, workers: 4}"]))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    check_launch(load_recipe(MICRO, [auto, "launch={kind: torchrun, workers: 4}"]))


def test_a_result_is_taken_where_files_cannot_have_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: str, target: str) -> None:
        raise OSError(errno.EPERM, "no hard links")

    write_json(tmp_path / "result" / "facts.json", {"steps": 1})
    write_json(tmp_path / "result" / "manifest.json", {})
    monkeypatch.setattr(os, "link", refuse)
    launched.take(tmp_path / "result", tmp_path / "made")
    assert [file.name for file in (tmp_path / "made").iterdir()] == ["facts.json"]


def test_without_ray_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launched, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ratchet-rl\[ray\]'"):
        check_launch(load_recipe(MICRO, ["launch={kind: ray, workers: 2}"]))


def test_ranks_share_the_cores_unless_the_recipe_says_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    training = Training(tmp_path)

    def threads(*overrides: str) -> int:
        recipe = training.context("launch={kind: torchrun, workers: 4}", *overrides).recipe
        return request_of(Order(recipe, training.data, training.start, training.reward, "k", tmp_path)).threads

    assert [threads("threads=0"), threads("threads=3")] == [2, 3]


def test_an_order_survives_json(tmp_path: Path) -> None:
    training = Training(tmp_path)
    recipe = training.context("launch={kind: torchrun, workers: 2}").recipe
    order = Order(recipe, training.data, training.start, training.reward, "k", tmp_path / "checkpoints")
    again = Order.from_json(order.as_json())
    assert (again.recipe, again.key, again.checkpoints) == (recipe, "k", tmp_path / "checkpoints")
    assert list(again.data.table("train")) == list(training.data.table("train"))
    assert (again.start.model, again.reward.report) == (training.start.model, training.reward.report)
