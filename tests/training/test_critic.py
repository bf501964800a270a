"""PPO's critic."""

import torch

from components.policy.packing import Group, pack
from components.recipe import Train
from components.training.actor import Actor
from components.training.critic import Critic
from components.training.update import parameters_of
from tests.tiny_models import same, tiny_policy, weights

ROWS = pack([Group([5, 6], [[7, 8, 9], [10]])])


def test_values_start_at_zero() -> None:
    assert torch.equal(Critic(tiny_policy().model)(ROWS), torch.zeros(4))


def test_there_is_one_value_for_each_completion_token() -> None:
    critic = Critic(tiny_policy().model)
    critic.head.linear.weight.data.fill_(1.0)
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


def test_a_critic_starts_from_the_policys_trunk() -> None:
    policy = tiny_policy()
    assert same(weights(Critic(policy.model).trunk), weights(policy.model.base_model))


def test_a_critic_beside_an_adapter_trains_an_adapter_of_its_own() -> None:
    actor = Actor(tiny_policy(), Train(algorithm="ppo", lora={"rank": 4}), 0)
    critic = Critic(actor.model)
    names = {name for name, parameter in critic.named_parameters() if parameter.requires_grad}
    assert {name for name in names if "lora_" not in name} == {"head.linear.weight", "head.linear.bias"}
    assert len(names) > 2
    assert not {id(p) for p in parameters_of(critic)} & {id(p) for p in parameters_of(actor)}


def test_a_critic_has_no_dropout() -> None:
    actor = Actor(tiny_policy(), Train(algorithm="ppo"), 0)
    assert not any(module.training for module in Critic(actor.model).trunk.modules())
