"""Parity with TRL: its own ``_compute_loss`` on the same logits, masks and advantages, in value and in gradient.

TRL's method runs on a namespace that holds the attributes it reads. The differences that are meant come last, one test each.
"""

from collections import defaultdict
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ratchet.components.algorithms.advantages import group_std_advantages
from ratchet.components.algorithms.kl import weighted_k3
from ratchet.components.algorithms.losses import token_weights
from ratchet.components.recipe import Train
from ratchet.components.training.objectives import policy_surrogate

VOCABULARY, LIMIT = 5, 9


@dataclass(frozen=True)
class Scene:
    """A minibatch of S completions of up to T tokens; ratios to the old policy are exp(drift)."""

    own: Tensor  # [S, T] bool
    advantages: Tensor  # [S]
    drift: Tensor  # [S, T]

    @property
    def tokens(self) -> Tensor:
        return torch.arange(self.own.numel()).reshape(self.own.shape) % VOCABULARY

    @property
    def logits(self) -> Tensor:
        """[S, T, V], a new leaf at each call."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(*self.own.shape, VOCABULARY, dtype=torch.float64, generator=generator).requires_grad_()

    def log_probs(self, logits: Tensor) -> Tensor:
        return logits.log_softmax(-1).gather(-1, self.tokens[..., None])[..., 0]

    @property
    def old(self) -> Tensor:
        return self.log_probs(self.logits).detach() - self.drift

    @property
    def reference(self) -> Tensor:
        return self.log_probs(self.logits).detach() + torch.sin(1.0 + torch.arange(self.own.numel())).reshape(self.own.shape)


class Outcome(NamedTuple):
    """What one implementation makes of a scene."""

    loss: Tensor
    gradient: Tensor  # [S, T, V]
    clip_ratios: tuple[float, float]  # low, high, over own tokens


def scene(own: list[list[int]], advantages: list[float], drift: list[list[float]]) -> Scene:
    return Scene(torch.tensor(own).bool(), torch.tensor(advantages).double(), torch.tensor(drift).double())


# Ragged, with a masked token inside the first completion; clips bite on both sides at every level of ratio.
RAGGED = scene(
    own=[[1, 1, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0]],
    advantages=[1.2, -0.7, 0.4, -1.5],
    drift=[
        [0.1, 2.0, 9.0, -0.5, -0.1, 0.3],  # mean 0.36, sum 1.8: clipped above
        [-0.4, 0.1, 2.0, 0.0, 0.0, 0.0],  # mean 0.57, sum 1.7, but a negative advantage
        [-0.3, 0.0, 0.0, 0.0, 0.0, 0.0],
        [-0.1, -0.6, 0.4, -0.3, 0.0, 0.0],  # mean -0.12, sum -0.6: clipped below
    ],
)
ONE_MASKED_OUT = scene(own=[[1, 1], [0, 0]], advantages=[1.0, 1.0], drift=[[0.0, 0.1], [0.0, 0.0]])


def one_token(advantage: float, drift: float) -> Scene:
    return scene(own=[[1]], advantages=[advantage], drift=[[drift]])


def ours(given: Scene, train: Train, kl_coefficient: float = 0.0) -> Outcome:
    """Our loss, on completion tokens laid end to end as in the packed forward pass."""
    logits = given.logits
    present = given.own.flip(1).cumsum(1).flip(1) > 0  # up to the last own token
    log_probs, own, old = given.log_probs(logits)[present], given.own[present], given.old[present]
    sequence = present.nonzero()[:, 0]
    log_ratio = torch.where(own, log_probs - old, 0.0)
    surrogate = policy_surrogate(log_probs, log_ratio, given.advantages[sequence], own, sequence, train)
    loss = surrogate.loss + kl_coefficient * weighted_k3(log_probs, old, given.reference[present])
    total = (loss * token_weights(given.own, train.loss.normaliser, LIMIT)[present]).sum()
    low, high = ((flag & own).sum() / own.sum() for flag in (surrogate.clipped_low, surrogate.clipped_high))
    return Outcome(total.detach(), torch.autograd.grad(total, logits)[0], (float(low), float(high)))


def theirs(trainer: Any, given: Scene, train: Train, **settings: Any) -> Outcome:
    """TRL's loss with our clip range, one batch being one optimiser step."""
    logits = given.logits
    log_probs = given.log_probs(logits)
    args = SimpleNamespace(delta=None, steps_per_generation=1, use_bias_correction_kl=settings.pop("corrected", True))
    attributes: dict[str, Any] = {
        "_get_per_token_logps_and_entropies": lambda *_, **__: (log_probs, torch.zeros_like(log_probs), None),
        "_entropy_bonus_enabled": False,
        "_metrics": defaultdict(lambda: defaultdict(list)),
        "accelerator": SimpleNamespace(num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x),
        "args": args,
        "aux_loss_enabled": False,
        "beta": 0.0,
        "current_gradient_accumulation_steps": 1,
        "epsilon_low": train.loss.clip_low,
        "epsilon_high": train.loss.clip_high,
        "importance_sampling_level": "token",
        "max_completion_length": LIMIT,
        "model": SimpleNamespace(training=True),
        "off_policy_mask_threshold": None,
        "top_entropy_quantile": 1.0,
        "use_vllm": False,
    }
    fake = SimpleNamespace(**(attributes | settings))
    own = given.own.long()
    inputs = {
        "prompt_ids": torch.zeros_like(own),
        "prompt_mask": torch.ones_like(own),
        "completion_ids": given.tokens,
        "completion_mask": own,
        "advantages": given.advantages,
        "old_per_token_logps": given.old,
        "old_logps": (given.old * own).sum(1),
        "ref_per_token_logps": given.reference,
        "num_items_in_batch": own.sum(),
    }
    loss = trainer._compute_loss(fake, None, inputs)
    metrics = fake._metrics["train"]
    low, high = (sum(metrics[f"clip_ratio/{side}_mean"]) for side in ("low", "high"))
    return Outcome(loss.detach(), torch.autograd.grad(loss, logits)[0], (low, high))


def assert_parity(mine: Outcome, peer: Outcome) -> None:
    assert_close(mine.loss, peer.loss, rtol=1e-5, atol=1e-7)
    assert_close(mine.gradient, peer.gradient, rtol=1e-5, atol=1e-7)
    assert peer.gradient.any()


@pytest.fixture(scope="module")
def grpo() -> Any:
    pytest.importorskip("trl")
    from trl.trainer.grpo_trainer import GRPOTrainer

    return GRPOTrainer


@pytest.fixture(scope="module")
def rloo() -> Any:
    pytest.importorskip("trl")
    from trl.trainer.rloo_trainer import RLOOTrainer

    return RLOOTrainer


# Parity


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        ("grpo", {"loss_type": "grpo"}),
        ("dapo", {"loss_type": "dapo"}),
        ("dr_grpo", {"loss_type": "dr_grpo"}),
        ("gspo", {"loss_type": "grpo", "importance_sampling_level": "sequence"}),
        ("cispo", {"loss_type": "cispo", "epsilon_high": 5.0}),  # 1 + our clip_high of 4
    ],
)
def test_a_presets_surrogate_is_trls(grpo: Any, algorithm: str, settings: dict[str, Any]) -> None:
    train = Train(algorithm=algorithm)
    assert_parity(ours(RAGGED, train), theirs(grpo, RAGGED, train, **settings))


def test_rloos_surrogate_is_trls(rloo: Any) -> None:
    train = Train(algorithm="rloo")
    assert_parity(ours(RAGGED, train), theirs(rloo, RAGGED, train))


@pytest.mark.parametrize("beta", [0.04, 1.0])
def test_the_kl_in_the_loss_is_trls_with_its_bias_correction(grpo: Any, beta: float) -> None:
    train = Train(algorithm="grpo")
    assert_parity(ours(RAGGED, train, beta), theirs(grpo, RAGGED, train, loss_type="grpo", beta=beta))


def test_the_clip_ratios_are_trls(grpo: Any) -> None:
    train = Train(algorithm="dapo")
    mine, peer = ours(RAGGED, train).clip_ratios, theirs(grpo, RAGGED, train, loss_type="dapo").clip_ratios
    # of 14 own tokens: below 0.8 with a negative advantage at -0.4, -0.6, -0.3; above 1.28 with a positive one at 2.0, 0.3
    assert mine == pytest.approx((3 / 14, 2 / 14))
    assert peer == pytest.approx(mine)


@pytest.mark.parametrize("algorithm", ["grpo", "gspo", "rloo", "cispo"])
def test_clips_bite_on_both_sides_of_the_scene(algorithm: str) -> None:
    low, high = ours(RAGGED, Train(algorithm=algorithm)).clip_ratios
    assert high > 0
    assert low > 0 or algorithm == "cispo"  # which has no lower bound


# Differences


@pytest.mark.parametrize("algorithm", ["grpo", "dr_grpo"])
def test_a_fully_masked_completion_counts_in_trls_mean_and_not_in_ours(grpo: Any, algorithm: str) -> None:
    train = Train(algorithm=algorithm)
    peer = theirs(grpo, ONE_MASKED_OUT, train, loss_type=algorithm)
    assert_close(ours(ONE_MASKED_OUT, train).loss, 2 * peer.loss)


def test_a_fully_masked_completion_counts_in_trls_rloo_too(rloo: Any) -> None:
    train = Train(algorithm="rloo")  # its empty product is a ratio of 1, hence an advantage's worth of loss: (1.0 + e^0.1) / 2
    assert float(theirs(rloo, ONE_MASKED_OUT, train).loss) == pytest.approx(-1.0525855)
    assert float(ours(ONE_MASKED_OUT, train).loss) == pytest.approx(-1.1051709)  # e^0.1


def test_trl_does_not_clamp_log_ratios_and_we_do_at_20(grpo: Any) -> None:
    train, far = Train(algorithm="grpo"), one_token(advantage=-1.0, drift=25.0)
    mine, peer = ours(far, train), theirs(grpo, far, train, loss_type="grpo")
    assert float(peer.loss.log()) == pytest.approx(25)
    assert float(mine.loss.log()) == pytest.approx(20)
    assert not mine.gradient.any()


def test_the_bound_of_trls_cispo_is_absolute(grpo: Any) -> None:
    train, above = Train(algorithm="cispo"), one_token(advantage=1.0, drift=3.0)
    peer = theirs(grpo, above, train, loss_type="cispo", epsilon_high=4.0)
    assert_close(peer.loss * 5 / 4, ours(above, train).loss)  # weights 4 and 1 + 4 for the same number


@pytest.mark.parametrize(
    ("rewards", "trl", "mine"),
    [
        ([1.0, 0.0, 0.0, 1.0], 0.865875, 0.866024),  # 0.5 / (0.577350 + 1e-4), or + 1e-6
        ([1.0, 0.0, 0.0, 0.0], 1.499700, 1.499997),  # 0.75 / (0.5 + 1e-4), or + 1e-6
        ([0.35] * 7 + [0.0], 0.353268, 0.353551),  # 0.04375 / (0.123744 + 1e-4), or + 1e-6
    ],
)
def test_trl_adds_more_to_the_standard_deviation(grpo: Any, rewards: list[float], trl: float, mine: float) -> None:
    from trl.trainer.utils import nanstd

    group = torch.tensor([rewards])
    peer = (group - group.mean()) / (nanstd(group, dim=1, keepdim=True) + 1e-4)  # inline in TRL's generation step
    assert float(peer[0, 0]) == pytest.approx(trl, abs=2e-6)
    assert float(group_std_advantages(group)[0, 0]) == pytest.approx(mine, abs=2e-6)


def test_trls_default_kl_has_our_value_and_another_gradient(grpo: Any) -> None:
    train, on_policy = Train(algorithm="grpo"), one_token(advantage=0.0, drift=0.0)
    mine = ours(on_policy, train, kl_coefficient=1.0)
    peer = theirs(grpo, on_policy, train, loss_type="grpo", beta=1.0, corrected=False)
    assert_close(mine.loss, peer.loss)
    assert not torch.isclose(mine.gradient, peer.gradient).any()


def test_under_sequence_ratios_trl_weighs_the_kl_by_the_sequence_and_we_by_the_token(grpo: Any) -> None:
    train = Train(algorithm="gspo")
    sequence = {"loss_type": "grpo", "importance_sampling_level": "sequence"}
    difference = theirs(grpo, RAGGED, train, **sequence, beta=1.0).loss - ours(RAGGED, train, kl_coefficient=1.0).loss
    assert abs(float(difference)) > 0.01
