"""Which engine is chosen, how long it is kept, and what is said where only the plain one serves."""

import gc
import logging
from copy import deepcopy

import pytest

from ratchet.components.policy.adapters import add_lora
from ratchet.components.policy.engines import default, plain
from ratchet.components.policy.engines.default import _Latest
from ratchet.components.policy.engines.engine import SamplingRequest, SamplingSeed, SamplingSettings
from ratchet.components.policy.engines.grouped import GroupedEngine
from ratchet.components.policy.loading import Policy
from tests.policy.families import FAMILIES, random_model
from tests.tiny_models import tiny_policy, tiny_tokenizer

REQUEST = SamplingRequest([[5]], [0], SamplingSettings(1, 4), SamplingSeed(7, "test"), [1])


def test_on_a_cpu_groups_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny_policy()
    expected = GroupedEngine(policy)(policy, REQUEST)
    monkeypatch.setattr(plain, "generate", None)
    assert default.generate(policy, REQUEST) == expected


def test_the_plain_engine_draws_from_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "generate", lambda *arguments: arguments)
    monkeypatch.setattr(default, "parts_of", lambda model: [model])
    policy = tiny_policy()
    assert default.generate(policy, REQUEST) == (policy, REQUEST)


def test_a_models_engine_is_kept_until_another_asks() -> None:
    latest, policy, other = _Latest(), tiny_policy(), tiny_policy()
    engine = latest.engine(policy)
    assert engine is not None
    assert latest.engine(policy) is engine
    assert latest.engine(other) is not engine
    assert latest.engine(policy) is not engine


def test_another_precision_is_another_engine() -> None:
    latest, policy = _Latest(), tiny_policy()
    engine = latest.engine(policy)
    assert latest.engine(Policy(policy.model, policy.tokenizer, "fp32")) is not engine


def test_after_an_adapter_is_merged_the_engine_is_made_again() -> None:
    latest, policy = _Latest(), tiny_policy()
    adapter = add_lora(policy, rank=2, alpha=4, seed=0)
    engine = latest.engine(policy)
    merged = adapter.merge()
    again = latest.engine(merged)
    assert again is not None
    assert again is not engine
    assert again.shared_weights.belong_to(merged.model)


def test_a_model_that_is_gone_leaves_no_engine() -> None:
    latest, policy = _Latest(), tiny_policy()
    latest.engine(policy)
    del policy
    gc.collect()
    assert latest._engine is None


def test_a_model_that_only_the_plain_engine_serves_is_named_once_with_the_cause(caplog: pytest.LogCaptureFixture) -> None:
    latest, policy = _Latest(), Policy(random_model(deepcopy(FAMILIES["gemma2"])), tiny_tokenizer())
    with caplog.at_level(logging.WARNING):
        assert latest.engine(policy) is None
        assert latest.engine(policy) is None
    assert [record.getMessage() for record in caplog.records] == [
        "gemma2: sampling is slower with this model: its attention takes softcap. The plain engine serves it."
    ]
