"""Low-rank adapters for reward-model training (LoRA, arXiv:2106.09685); the score head is trained whole."""

from typing import Any

import torch

from ratchet.components.errors import ModelError
from ratchet.components.rewards.learned.model import RewardModel


def add_lora(reward_model: RewardModel, rank: int, alpha: int, seed: int) -> RewardModel:
    """The reward model with adapters on every linear layer; only they and the score head are trainable.

    Raises:
        ModelError: if peft is not installed.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ModelError("reward.model.lora needs peft, which is not installed. Run: uv pip install -e '.[lora]'.") from error
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear", task_type="SEQ_CLS")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        wrapped: Any = get_peft_model(reward_model.model, config)
    return RewardModel(wrapped, reward_model.tokenizer, reward_model.temperature)


def merge_lora(reward_model: RewardModel) -> RewardModel:
    """The reward model with the adapters' products added to its weights; the adapters are gone afterwards."""
    model: Any = reward_model.model
    return RewardModel(model.merge_and_unload().eval(), reward_model.tokenizer, reward_model.temperature)
