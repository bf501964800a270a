"""One training of a comparison, in a process of its own: what one leaves in memory would be missing from the next one's peak.

The process ends with its parent. A training that was killed resumes from its checkpoint, as that of a run does.
"""

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ratchet.components.code.user_code import own_process
from ratchet.components.compare.figures import Measured, curve_of, item_figures, item_of, training_figures
from ratchet.components.errors import RatchetError
from ratchet.components.evaluation.evaluate import Measuring, evaluate_items
from ratchet.components.graders.counted import build_gold
from ratchet.components.graders.protocol import RewardFunction
from ratchet.components.policy.adapters import Reference
from ratchet.components.policy.engines.engine import SamplingSeed, SamplingSettings
from ratchet.components.policy.loading import load_policy, pick_device
from ratchet.components.recipe import Recipe
from ratchet.components.records import ItemResult
from ratchet.components.rewards.build import build_reward
from ratchet.components.run.steps import configure_torch
from ratchet.components.stages.results import DataStage, PolicyStage, RewardStage
from ratchet.components.stages.stage import Context, Observer, Silent
from ratchet.components.stages.train import trained_candidate
from ratchet.components.storage.home import Home

PURPOSE = "compare"  # of the draws on dev, which no checkpoint was chosen by
PROCESSES = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads


@dataclass(frozen=True)
class WantedTraining:
    """A training that is wanted."""

    recipe: Recipe  # with its seed
    home: Home
    data: DataStage
    start: PolicyStage
    reward: RewardStage


class Sent(Silent):
    """An observer that passes progress to the parent process."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def progress(self, stage: str, done: int, total: int, note: str) -> None:
        self.connection.send_bytes(json.dumps({"progress": [stage, done, total, note]}).encode())


def measured_training(order: WantedTraining, observer: Observer, prefix: str) -> Measured:
    """Train in a process of its own, and measure the last policy on dev.

    Args:
        prefix: before each note of progress: which training this is.

    Raises:
        RatchetError: if it did not end with a result; the same command resumes it.
    """
    ours, theirs = PROCESSES.Pipe()
    process = PROCESSES.Process(target=_train_for, args=(order, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        result = _received(ours, observer, prefix)
        process.join()
    finally:
        process.terminate()  # of a process that has ended, nothing
    if "measured" in result:
        return Measured.from_json(result["measured"])
    how = result.get("error") or f"its process ended with {process.exitcode}"
    raise RatchetError(f"{prefix}: {how}. Correct the cause; the same command resumes the comparison where it stopped.")


def _received(connection: Connection, observer: Observer, prefix: str) -> dict[str, Any]:
    """The process's result or error, after its progress; empty if it ended without either."""
    while True:
        try:
            message: dict[str, Any] = json.loads(connection.recv_bytes())
        except EOFError:
            return {}
        if "progress" not in message:
            return message
        stage, done, total, note = message["progress"]
        observer.progress(stage, done, total, f"{prefix}: {note}")


def _train_for(order: WantedTraining, connection: Connection) -> None:
    """The process's own function."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    own_process()
    try:
        result: dict[str, Any] = {"measured": train_and_measure(order, Sent(connection)).as_json()}
    except RatchetError as error:
        result = {"error": str(error)}
    connection.send_bytes(json.dumps(result).encode())


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


def train_and_measure(order: WantedTraining, observer: Observer) -> Measured:
    """Train in this process, or take the finished training from the store; then answer dev with the last policy."""
    context = Context(order.recipe, order.home, observer)
    configure_torch(order.recipe.threads)
    stage = trained_candidate(context, order.data, order.start, order.reward)
    last = stage.kept[-1].folder if stage.kept else None
    model = order.start.model if last is None else stage.path / last / "model"
    items = [item_of(result) for result in _answered(order, model)]
    curve = curve_of(stage.points)
    figures = training_figures(stage.points, curve, stopped=stage.stop is not None) | item_figures(items)
    return Measured(order.recipe.run_seed, figures, items, curve, stage.cached, stage.stop.text() if stage.stop else None)


def _answered(order: WantedTraining, model: Path) -> list[ItemResult]:
    recipe = order.recipe
    reward = order.reward.model if recipe.reward.needs_model else None
    rows = order.data.table("dev")[: recipe.evaluation.dev_items]
    device = pick_device(recipe.device)
    return answered(recipe, model, order.start.model, rows, build_reward(recipe.reward, reward, device))


def answered(
    recipe: Recipe, model: Path, start: Path | None, rows: Sequence[Mapping[str, Any]], reward: RewardFunction | None
) -> list[ItemResult]:
    """A policy's sampled answers to rows, by gold, reward and KL to the start; every policy has the same draws with one seed.

    Args:
        model: the policy's folder.
        start: that of the starting policy; without it no KL is measured.
    """
    load = partial(load_policy, device=pick_device(recipe.device), template_date=recipe.prompt_date)
    settings = SamplingSettings(1, recipe.policy.max_new_tokens, recipe.evaluation.temperature)
    measuring = Measuring(Reference(load(start)) if start else None, reward=reward, gold=build_gold(recipe))
    return evaluate_items(load(model), rows, settings, SamplingSeed(recipe.run_seed, PURPOSE), measuring)
