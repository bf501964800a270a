"""A reward that pays for length: training is stopped before the policy is worse for it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.data.word_problems import generate
from ratchet.components.graders.protocol import Grade
from ratchet.components.policy.adapters import Reference
from ratchet.components.policy.engines.engine import SamplingSeed, SamplingSettings
from ratchet.components.policy.loading import Policy, load_policy, pick_device, save_policy
from ratchet.components.recipe import Reward, Train, Warmup
from ratchet.components.rewards.build import build_reward
from ratchet.components.training.actor import Actor
from ratchet.components.training.dev_evaluation import dev_evaluation
from ratchet.components.training.events import StepMetrics
from ratchet.components.training.loop import Trainer
from ratchet.components.training.setting import RewardedPrompts, Setting, Storage
from ratchet.components.training.warmup import build_policy, warm_up
from tests.training.toy import OFF

CPU = pick_device("cpu")
DEV = 600  # items
DRAWS = SamplingSettings(1, 24), SamplingSeed(3, "dev")
MOST_LOST = 0.05  # of accuracy


def paid_by_length(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
    return [Grade(len(text) / 100, {}) for text in completions]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    """Problems with operands up to 2: a dozen facts to know."""
    made = generate(1200, 2, 0.4, 0.0, 1)
    return [
        {"id": f"{i:x}", "prompt": r["question"], **{k: r[k] for k in ("answer", "demonstration")}} for i, r in enumerate(made)
    ]


@pytest.fixture(scope="module")
def start(rows: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that has learned the task, and the demonstrations' noise with it."""
    settings = Warmup(layers=1, width=32, heads=2, vocabulary=400, context=128, steps=250, batch=32, lr=1e-2)
    policy = build_policy(rows, settings, 3)
    list(warm_up(policy, rows, settings, 3))
    path = tmp_path_factory.mktemp("start") / "model"
    save_policy(policy, path)
    return path


def hack(start: Path, rows: list[dict[str, str]], checkpoints: Path, **sentinel: Any) -> tuple[Trainer, list[float]]:
    """Train against length; the run, and dev accuracy at each evaluation."""
    train = Train(steps=60, prompts=16, k=4, lr=1e-4, kl="none", evaluate_every=5, sentinel=sentinel)
    reward = build_reward(Reward(kind="custom", function=f"{__name__}:{paid_by_length.__name__}"), None, CPU)
    policy, reference = (load_policy(start, CPU) for _ in range(2))
    dev = dev_evaluation(rows[:DEV], reward, Reference(reference), *DRAWS)
    setting = Setting(train, 3, RewardedPrompts(rows[DEV:], 24, reward), dev, Storage(checkpoints))
    trainer = Trainer(Actor(policy, train, 3), None, setting)
    metrics = [event.values for event in trainer.run() if isinstance(event, StepMetrics)]
    return trainer, [values["eval_sampled_accuracy"] for values in metrics if "eval_sampled_accuracy" in values]


def accuracy(policy: Policy, rows: list[dict[str, str]]) -> float:
    reward = build_reward(Reward(kind="verifier"), None, CPU)
    evaluate = dev_evaluation(rows[:DEV], reward, None, *DRAWS)
    return evaluate(policy).figures["eval_sampled_accuracy"]


def test_a_length_hack_is_stopped_before_gold_has_fallen(start: Path, rows: list[dict[str, str]], tmp_path: Path) -> None:
    trainer, gold = hack(start, rows, tmp_path)
    assert trainer.progress.stopped in ("length", "proxy_gold_gap")
    assert min(gold) >= gold[0] - MOST_LOST
    assert accuracy(trainer.best_policy(), rows) == max(gold)  # the gold-best checkpoint is what is handed over


def test_unwatched_the_same_hack_ruins_the_policy(start: Path, rows: list[dict[str, str]], tmp_path: Path) -> None:
    trainer, gold = hack(start, rows, tmp_path, **OFF)
    assert trainer.progress.stopped is None
    assert gold[-1] < gold[0] - 2 * MOST_LOST
