"""PPO's critic: a separate model, initialised from the policy's trunk, or a head on the policy's trunk."""

import copy
import math
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ratchet.components.policy.log_probs import hidden_states
from ratchet.components.policy.packing import PackedRows

LEAST_LOG_PROB = -5.0  # less likely tokens count as this
FEATURES = 2


class ValueHead(nn.Module):
    """From hidden states and features [N, width + features] to values [N]; starts at zero everywhere.

    A hidden state at a token's predictor depends only on earlier tokens, so this is the value before the token is drawn.
    """

    def __init__(self, policy: PreTrainedModel, features: int = 0) -> None:
        super().__init__()
        width = policy.get_output_embeddings().weight.shape[1] + features  # not hidden_size: OPT may project to another
        self.linear = nn.Linear(width, 1, device=policy.device)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        return cast(Tensor, self.linear(hidden).float()[:, 0])


def likelihood_features(prefix_log_probs: Tensor, width: int) -> Tensor:
    """The least likely token so far, [N, FEATURES]: its log-prob mapped to [0, 1], and its probability.

    Scaled to the length of a hidden state, so that one learning rate suits both.
    """
    surprise = 1 - prefix_log_probs.clamp(min=LEAST_LOG_PROB) / LEAST_LOG_PROB
    return torch.stack([surprise, prefix_log_probs.exp()], 1) * math.sqrt(width)


class Critic(nn.Module):
    """Predicts the return from the state before each completion token, with its own trunk (LoRA layers included).

    A value depends on a state and a policy. A critic that sees only tokens must track the policy through its updates; with
    ``likelihood`` its head also sees something of the policy in that state (a policy-extended value function,
    Tang et al., arXiv:2010.09536): the likelihood of what it has written. That is known before the next token is drawn,
    so the advantages keep their expectation.
    """

    def __init__(self, policy: PreTrainedModel, likelihood: bool = False) -> None:
        super().__init__()
        self.trunk = copy.deepcopy(policy.base_model)
        self.head = ValueHead(policy, FEATURES if likelihood else 0)
        self.likelihood = likelihood

    def forward(self, rows: PackedRows, prefix_log_probs: Tensor | None = None) -> Tensor:
        """Values of the states before each completion token, [N].

        Args:
            prefix_log_probs: of the least likely token before each, [N]; only a critic that sees likelihood needs them.
        """
        hidden = hidden_states(cast(PreTrainedModel, self.trunk), rows)
        if self.likelihood:
            assert prefix_log_probs is not None
            features = likelihood_features(prefix_log_probs, hidden.shape[1]).to(hidden.dtype)
            hidden = torch.cat([hidden, features], 1)
        return cast(Tensor, self.head(hidden))
