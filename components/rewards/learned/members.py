"""The reward models within a reward: it may be one, or an ensemble or a sum that contains some."""

from ratchet.components.graders.protocol import RewardFunction
from ratchet.components.rewards.combine import Ensemble, Sum
from ratchet.components.rewards.learned.model import RewardModel


def models_of(reward: RewardFunction) -> list[RewardModel]:
    """In order."""
    if isinstance(reward, RewardModel):
        return [reward]
    within = reward.members if isinstance(reward, Ensemble) else []
    within = [term.function for term in reward.terms] if isinstance(reward, Sum) else within
    return [model for part in within for model in models_of(part)]
