"""A warm-up and reward-model trainings of a few steps that commit after each, in a process that may be killed."""

import math
import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from ratchet.components.checkpoints.checkpoint import Pace, Resumption
from ratchet.components.interruption import Interruption
from ratchet.components.policy.loading import save_policy
from ratchet.components.recipe import RewardModel as RewardModelSettings
from ratchet.components.recipe import Warmup
from ratchet.components.rewards.learned.training import save_members, train_members
from ratchet.components.storage.digests import digest_of
from ratchet.components.storage.files import tree_digests, write_json
from ratchet.components.training.warmup import build_policy, warm_up
from tests.tiny_models import tiny_policy

STEPS = 6
ROWS = [{"prompt": f"{i} + 1 = ?", "demonstration": f"#### {i + 1}"} for i in range(30)]
PAIRS = [{"prompt": f"What is {n}?", "chosen": f"It is {n}.", "rejected": f"No idea about {n}."} for n in range(40)]
SHORT: dict[str, Any] = {"steps": STEPS, "batch": 4, "lr": 3e-3}
TRAININGS: dict[str, dict[str, Any]] = {
    "warm-up": {},
    "reward": SHORT,
    "reward, two members, ends early": {**SHORT, "members": 2, "early_stop": 1, "evaluate_every": 2, "early_stop_pairs": 6},
    "reward, adapters": {**SHORT, "lora": {"rank": 2, "alpha": 4}},
}


def train(name: str, root: Path, kill_at: str | None = None) -> None:
    """Train to the end, or until killed; ``steps.log`` counts the steps computed, ``outcome.json`` has the model's digest."""
    torch.set_num_threads(1)
    if kill_at is not None:
        os.environ["RATCHET_KILL_AT"] = kill_at
    with Interruption() as interruption:
        resumption = Logged(root, name, lambda: interruption.requested, Pace(0.0, math.inf))
        made, figures = warmed(resumption) if name == "warm-up" else rewarded(TRAININGS[name], resumption)
    write_json(root / "outcome.json", {"model": made, "figures": figures})


class Logged(Resumption):
    """Notes each step computed in a log beside the checkpoints."""

    def part(self, name: str) -> "Resumption":
        assert self.work is not None
        return Logged(self.work / name, self.identity, self.interrupted, self.pace)

    def after(self, *arguments: Any) -> None:
        super().after(*arguments)
        assert self.work is not None
        with (self.work / "steps.log").open("a", encoding="utf-8") as log:
            log.write(f"{len(self.figures)}\n")


def warmed(resumption: Resumption) -> tuple[str, list[Any]]:
    settings = Warmup(layers=1, width=32, heads=2, vocabulary=300, context=64, steps=STEPS, batch=8, lr=1e-2)
    policy = build_policy(ROWS, settings, 1)
    figures = [step.loss for step in warm_up(policy, ROWS, settings, 1, resumption)]
    with tempfile.TemporaryDirectory() as folder:
        save_policy(policy, Path(folder))
        return digest_of(tree_digests(Path(folder))), figures


def rewarded(settings: dict[str, Any], resumption: Resumption) -> tuple[str, list[Any]]:
    figures: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:
        save_policy(tiny_policy(), Path(folder) / "trunk")
        watch = lambda step, member: figures.append([member, *step])  # noqa: E731
        found = RewardModelSettings.model_validate(settings)
        members = train_members(found, Path(folder) / "trunk", PAIRS, torch.device("cpu"), 1, watch, resumption=resumption)
        save_members(members, Path(folder) / "made")
        return digest_of(tree_digests(Path(folder) / "made")), figures
