"""The learning check of docs/memory.md: what a policy is paid in the end, with moments in 8 bits and in 32."""

from pathlib import Path
from statistics import mean

import pytest

from ratchet.components.training.actor import Actor
from ratchet.components.training.loop import Trainer
from tests.tiny_models import tiny_policy
from tests.training.toy import finish, setting, short, steps_of


def rewards(root: Path, seed: int, optimizer: str) -> list[float]:
    """The mean reward of each of 30 steps."""
    few = {"steps": 30, "prompts": 8, "k": 8, "evaluate_every": 30, "epochs": 1, "kl": "none"}
    train = short(**few, optimizer=optimizer)
    given = setting(root / f"{optimizer}-{seed}", train, seed=seed)
    trainer = Trainer(Actor(tiny_policy(seed=seed, width=64), train, seed), None, given)
    return [values["reward"] for values in steps_of(finish(trainer))]


@pytest.mark.slow
def test_a_policy_learns_as_much(tmp_path: Path) -> None:
    """Differences of single seeds have a standard deviation of 0.1, the mean of eight 0.035."""
    ends = {name: [rewards(tmp_path, seed, name)[-5:] for seed in range(1, 9)] for name in ("adamw", "adamw_8bit")}
    exact, coarse = (mean(map(mean, ends[name])) for name in ("adamw", "adamw_8bit"))
    assert exact > 0.5
    assert coarse == pytest.approx(exact, abs=0.1)
