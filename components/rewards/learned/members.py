"""Train the reward models of a recipe: split the pairs, train each member, fit its temperature."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ratchet.components.errors import DataError
from ratchet.components.randomness import stream, torch_seed
from ratchet.components.recipe import RewardModel as Settings
from ratchet.components.rewards.learned.claims import with_claims
from ratchet.components.rewards.learned.lora import add_lora, merge_lora
from ratchet.components.rewards.learned.model import RewardModel
from ratchet.components.rewards.learned.styles import restyled
from ratchet.components.rewards.learned.training import EarlyStop, Objective, RewardStep, flipped, train_reward_model
from ratchet.components.statistics.calibration import Floats, fit_temperature

Pairs = list[Mapping[str, Any]]
Watch = Callable[[RewardStep, int], None]  # a step, and the number of the member


class Parts(NamedTuple):
    """The training pairs by use; no pair is in two of them."""

    train: Pairs
    early_stop: Pairs
    calibration: Pairs


def split_pairs(pairs: Sequence[Mapping[str, Any]], settings: Settings, seed: int) -> Parts:
    """Labels are flipped (``label_noise``) before the split: the parts stand for the same annotators.

    Raises:
        DataError: if no pair is left to train on.
    """
    stopping = settings.early_stop_pairs if settings.early_stop else 0
    order = stream(seed, "pair_parts").permutation(len(pairs))
    noisy = flipped(pairs, settings.label_noise, seed)
    drawn = [noisy[i] for i in order]
    # Of few pairs at most a quarter is held back for either use.
    stopping, calibrating = (min(wanted, len(pairs) // 4) for wanted in (stopping, settings.calibration_pairs))
    parts = Parts(drawn[stopping + calibrating :], drawn[:stopping], drawn[stopping : stopping + calibrating])
    if not parts.train:
        raise DataError("there are no pairs to train a reward model on. Raise data.split.pairs, or use reward.kind=verifier.")
    return parts


def member_seed(seed: int, number: int) -> int:
    """The seed of one member of an ensemble; the first has the run's own."""
    return seed if number == 0 else torch_seed(seed, "reward_member", number)


def train_model(
    settings: Settings,
    source: str | Path,
    pairs: Sequence[Mapping[str, Any]],
    device: torch.device,
    seed: int,
    watch: Watch,
) -> list[RewardModel]:
    """Every member of the recipe's reward model, trained and calibrated."""
    parts = split_pairs(pairs, settings, seed)
    return [_member(settings, source, parts, device, seed, number, watch) for number in range(settings.members)]


def _member(
    settings: Settings, source: str | Path, parts: Parts, device: torch.device, seed: int, number: int, watch: Watch
) -> RewardModel:
    own_seed = member_seed(seed, number)
    torch.manual_seed(torch_seed(own_seed, "reward_model"))
    model = RewardModel.from_trunk(source, own_seed, device, settings.revision)
    if settings.lora is not None:
        model = add_lora(model, settings.lora.rank, settings.lora.alpha, torch_seed(own_seed, "reward_lora"))
    stop = EarlyStop(parts.early_stop, settings.early_stop, settings.evaluate_every) if settings.early_stop else None
    steps = train_reward_model(
        model,
        with_claims(restyled(parts.train, settings.restyle, own_seed), settings.claims, own_seed),
        steps=settings.steps,
        batch=settings.batch,
        lr=settings.lr,
        label_noise=0.0,  # the parts are flipped already
        seed=own_seed,
        objective=Objective(settings.margin, settings.centring, settings.label_smoothing, settings.length_debiased),
        early_stop=stop,
    )
    for step in steps:
        watch(step, number)
    if settings.lora is not None:
        model = merge_lora(model)
    model.temperature = fit_temperature(differences(model, parts.calibration))
    return model


def differences(model: RewardModel, pairs: Pairs) -> Floats:
    """r_chosen - r_rejected, [n]."""
    prompts = [pair["prompt"] for pair in pairs]
    chosen, rejected = (model.score(prompts, [pair[side] for pair in pairs]) for side in ("chosen", "rejected"))
    found: Floats = np.array(chosen) - np.array(rejected)
    return found


def save_members(members: Sequence[RewardModel], path: Path) -> None:
    """One model in ``path`` itself, several in its folders ``0``, ``1``, ..."""
    if len(members) == 1:
        members[0].save(path)
        return
    for number, member in enumerate(members):
        member.save(path / str(number))
