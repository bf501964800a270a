"""PPO's critic."""

import torch

from components.policy.packing import Group, pack
from components.training.critic import Critic, parameters_of
from tests.tiny_models import same, tiny_policy, weights

ROWS = pack([Group([5, 6], [[7, 8, 9], [10]])])


def test_values_start_at_zero() -> None:
    assert torch.equal(Critic(tiny_policy().model)(ROWS), torch.zeros(4))


def test_there_is_one_value_for_each_completion_token() -> None:
    critic = Critic(tiny_policy().model)
    critic.head.weight.data.fill_(1.0)
    values = critic(ROWS)
    assert values.shape == (4,)
    # both completions' first tokens are predicted from the same state: the prompt's end
    assert values[0] == values[3]
    assert values[0] != values[1]


def test_training_the_critic_leaves_the_policy_alone() -> None:
    policy = tiny_policy()
    before = weights(policy.model)
    critic = Critic(policy.model)
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.add_(1.0)
    assert same(weights(policy.model), before)


def test_only_trainable_parameters_are_given_each_once() -> None:
    critic = Critic(tiny_policy().model)
    critic.head.bias.requires_grad_(False)
    given = parameters_of(critic)
    assert len(given) == len(list(critic.parameters())) - 1
    assert len({id(p) for p in given}) == len(given)
