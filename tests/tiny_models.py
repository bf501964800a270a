"""A tiny random policy that is built in milliseconds, for tests that need a model."""

from copy import deepcopy
from functools import cache

import torch
from transformers import PreTrainedTokenizerFast

from ratchet.components.checkpoints.moments import taken_apart
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.tiny import new_policy, train_tokenizer

TEXTS = [f"Ann has {i} apples and buys {i + 3} more. #### {2 * i + 3}" for i in range(40)]


@cache
def tiny_tokenizer(vocabulary: int = 300) -> PreTrainedTokenizerFast:
    """Byte-level BPE."""
    return train_tokenizer(TEXTS, vocabulary)


def tiny_policy(seed: int = 0, layers: int = 1, width: int = 32, vocabulary: int = 300) -> Policy:
    """A tiny policy; its matrices are scaled up so that a token's context shows in its logits."""
    tokenizer = tiny_tokenizer(vocabulary)
    model = new_policy(tokenizer, layers=layers, width=width, heads=2, context=128, seed=seed).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8.0)
    return Policy(model, deepcopy(tokenizer))  # a test may give it another template


def weights(module: torch.nn.Module) -> list[torch.Tensor]:
    """A copy of every parameter."""
    return [p.detach().clone() for p in module.parameters()]


def moments(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """A copy of an optimiser's state, by parameter and name; moments in 8 bits as their parts."""
    states = [optimizer.state.get(p, {}) for group in optimizer.param_groups for p in group["params"]]
    every = (taken_apart(name, state[name]) for state in states for name in sorted(state))
    return [part.clone() for moment in every for part in moment.values()]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    """Bitwise equality of two lists of tensors."""
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
