"""Identity of the validated and the used reward model: digests, evaluation mode, finite weights."""

from collections.abc import Mapping
from pathlib import Path

import torch

from ratchet.components.errors import RewardError
from ratchet.components.graders.protocol import RewardFunction
from ratchet.components.rewards.checks.check import Check
from ratchet.components.rewards.learned.members import models_of
from ratchet.components.rewards.learned.model import RewardModel
from ratchet.components.storage.files import tree_digests


def model_digests(path: Path) -> dict[str, str]:
    """sha256 of every file of a reward model: weights, configuration (with its head), tokenizer, template, temperature."""
    return {f"model/{name}": digest for name, digest in tree_digests(path).items()}


def check_identity(path: Path, validated: Mapping[str, str]) -> None:
    """Reject a reward model other than the validated one.

    Raises:
        RewardError: naming the file that differs.
    """
    found = model_digests(path)
    expected = {name: digest for name, digest in validated.items() if name.startswith("model/")}
    changed = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if changed:
        raise RewardError(f"{changed[0]} of the reward model is not what was validated. Validate the reward again.")


def identity_check(judge: RewardFunction, digests: Mapping[str, str]) -> Check:
    """Models must be in evaluation mode with finite weights and one head; the digests go into the report."""
    faults = [fault for model in models_of(judge) for fault in _faults(model)]
    advice = "Call eval() on the model, and train it again if weights are not finite."
    detail = "; ".join(faults) or (f"{len(digests)} digests" if digests else "no files")
    return Check("identity", None, None, None, 0.0, not faults, advice, detail)


def _faults(model: RewardModel) -> list[str]:
    faults = []
    if model.model.training:
        faults.append("the model is in training mode, where dropout changes its scores")
    if not all(bool(torch.isfinite(parameter).all()) for parameter in model.model.parameters()):
        faults.append("a weight is not finite")
    if model.model.config.num_labels != 1:
        faults.append(f"the head has {model.model.config.num_labels} labels")
    return faults
