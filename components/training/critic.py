"""PPO's critic: a model of its own, started from the policy's trunk, with a scalar head that starts at zero."""

import copy
from typing import cast

from torch import Tensor, nn
from transformers import PreTrainedModel

from components.policy.log_probs import hidden_states
from components.policy.packing import PackedRows


class Critic(nn.Module):
    """Predicts the return from the state before each completion token."""

    def __init__(self, policy: PreTrainedModel) -> None:
        super().__init__()
        self.trunk = copy.deepcopy(policy.base_model)
        self.head = nn.Linear(policy.config.get_text_config().hidden_size, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.to(policy.device)

    def forward(self, rows: PackedRows) -> Tensor:
        """Values of the states before each completion token, [N]."""
        hidden = hidden_states(cast(PreTrainedModel, self.trunk), rows)
        return cast(Tensor, self.head(hidden).float()[:, 0])


def parameters_of(module: nn.Module) -> list[nn.Parameter]:
    """Trainable parameters, in a stable order."""
    return [p for p in module.parameters() if p.requires_grad]
