"""PPO's critic: a model of its own, started from the policy's trunk, or a head on the trunk that the policy uses too."""

import copy
from typing import cast

from torch import Tensor, nn
from transformers import PreTrainedModel

from components.policy.log_probs import hidden_states
from components.policy.packing import PackedRows


class ValueHead(nn.Module):
    """From hidden states [N, width] to values [N]; starts at zero everywhere."""

    def __init__(self, policy: PreTrainedModel) -> None:
        super().__init__()
        self.linear = nn.Linear(policy.config.get_text_config().hidden_size, 1, device=policy.device)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        return cast(Tensor, self.linear(hidden).float()[:, 0])


class Critic(nn.Module):
    """Predicts the return from the state before each completion token, with a trunk of its own (LoRA layers included)."""

    def __init__(self, policy: PreTrainedModel) -> None:
        super().__init__()
        self.trunk = copy.deepcopy(policy.base_model)
        self.head = ValueHead(policy)

    def forward(self, rows: PackedRows) -> Tensor:
        """Values of the states before each completion token, [N]."""
        return cast(Tensor, self.head(hidden_states(cast(PreTrainedModel, self.trunk), rows)))
