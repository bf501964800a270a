"""PPO's critic."""

import pytest
import torch
from transformers import OPTConfig

from ratchet.components.policy.packing import Group, pack
from ratchet.components.recipe import Train
from ratchet.components.training.actor import Actor
from ratchet.components.training.critic import FEATURES, Critic, likelihood_features
from ratchet.components.training.update import parameters_of
from tests.policy.families import PLAIN, random_model
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


def test_a_critic_reads_what_the_models_head_reads() -> None:
    config = OPTConfig(**PLAIN, ffn_dim=64, word_embed_proj_dim=16)
    assert torch.equal(Critic(random_model(config))(ROWS), torch.zeros(4))


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


def test_a_critic_that_sees_likelihood_starts_at_zero_too() -> None:
    critic = Critic(tiny_policy().model, likelihood=True)
    assert torch.equal(critic(ROWS, torch.tensor([0.0, -1.0, -2.0, 0.0])), torch.zeros(4))


def test_such_a_critic_tells_an_unlikely_prefix_from_a_likely_one() -> None:
    critic = Critic(tiny_policy().model, likelihood=True)
    critic.head.linear.weight.data.fill_(1.0)
    likely = torch.tensor([0.0, -0.1, -0.1, 0.0])
    values, changed = critic(ROWS, likely), critic(ROWS, torch.tensor([0.0, -3.0, -0.1, 0.0]))
    assert changed[1] < values[1]
    assert torch.equal(changed[[0, 2, 3]], values[[0, 2, 3]])


@pytest.mark.parametrize("log_prob", [-5.0, -6.0, -50.0, float("-inf")])
def test_below_a_bound_one_log_prob_is_as_unlikely_as_another(log_prob: float) -> None:
    features = likelihood_features(torch.tensor([log_prob]), 4)
    assert features.shape == (1, FEATURES)
    assert features[0, 0] == 0.0
    assert 0 <= features[0, 1] < 0.02


def test_at_the_start_of_a_completion_both_features_are_as_long_as_a_hidden_state() -> None:
    assert likelihood_features(torch.zeros(1), 16).tolist() == [[4.0, 4.0]]


def test_a_critic_has_no_dropout() -> None:
    actor = Actor(tiny_policy(), Train(algorithm="ppo"), 0)
    assert not any(module.training for module in Critic(actor.model).trunk.modules())
