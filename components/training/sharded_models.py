"""The models in training, in shards."""

from functools import partial

import torch
from torch import nn
from torch.distributed.fsdp import register_fsdp_forward_method

from ratchet.components.graders.protocol import RewardFunction
from ratchet.components.policy.sharding import one_token, shard
from ratchet.components.rewards.learned.members import models_of
from ratchet.components.training.actor import Actor
from ratchet.components.training.critic import Critic
from ratchet.components.training.micro_batches import MicroBatch


def shard_models(actor: Actor, critic: Critic | None) -> None:
    """Shard the actor, and the critic that has its own trunk."""
    device, low = actor.policy.model.device, actor.policy.low_precision
    rows = one_token(device)
    batch = MicroBatch(rows, torch.zeros(1, dtype=torch.long, device=device), rows.index, None)
    shard(actor, low, lambda: actor(batch, 1.0))
    register_fsdp_forward_method(actor, "values")
    if critic is not None:
        shard(critic, low, lambda: critic(rows, torch.zeros(1, device=device)))


def sharded_rewards(reward: RewardFunction) -> list[nn.Module]:
    """The reward models of a reward, in shards; they score within :func:`whole` alone."""
    modules: list[nn.Module] = []
    for model in models_of(reward):
        token = torch.zeros(1, 1, dtype=torch.long, device=model.model.device)
        shard(model.model, False, partial(model.model, input_ids=token, attention_mask=torch.ones_like(token)))
        modules.append(model.model)
    return modules
