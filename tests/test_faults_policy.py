"""A policy is all files that change what it says, and its digest covers them all."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ratchet.components.policy.loading import Policy, load_policy, save_policy
from ratchet.components.stages.evaluate import dev_evaluation
from ratchet.components.stages.results import PolicyStage
from ratchet.components.stages.reward import validated_reward
from ratchet.components.stages.scoring import Models
from ratchet.components.stages.sealed import sealed_evaluation
from ratchet.components.stages.train import trained_candidate
from ratchet.components.storage.files import model_weights, policy_digest, tree_digests, write_text
from ratchet.components.storage.store import Finished
from tests.stages.by_hand import context_of, data_stage, gold_stage, key_of_look, reward_stage
from tests.tiny_models import tiny_policy, tiny_tokenizer

TEMPLATE = "{% for m in messages %}{{ m.content }}<eos>{% endfor %}"


def saved(path: Path) -> Path:
    tokenizer = deepcopy(tiny_tokenizer())
    tokenizer.chat_template = {"default": TEMPLATE, "tool": TEMPLATE}
    policy = tiny_policy()
    policy.model.generation_config.eos_token_id = [1, 2]
    save_policy(Policy(policy.model, tokenizer), path)
    return path


def edited(name: str, **values: object) -> Callable[[Path], None]:
    def edit(model: Path) -> None:
        settings = json.loads((model / name).read_text("utf-8"))
        write_text(model / name, json.dumps({**settings, **values}))

    return edit


def put(name: str, text: str) -> Callable[[Path], None]:
    return lambda model: write_text(model / name, text)


def another_tokenizer(model: Path) -> None:
    text = (model / "tokenizer.json").read_text("utf-8")
    write_text(
        model / "tokenizer.json", text.replace('"a": ', '"swapped": ').replace('"b": ', '"a": ').replace('"swapped": ', '"b": ')
    )


CHANGES: dict[str, Callable[[Path], None]] = {
    "tokenizer": another_tokenizer,
    "template": put("chat_template.jinja", "{{ messages[0].content }}"),
    "another template": put("additional_chat_templates/tool.jinja", "{{ messages[0].content }}"),
    "ends": edited("generation_config.json", eos_token_id=[1, 3]),
    "end of sequence": edited("tokenizer_config.json", eos_token="<pad>"),
    "special tokens": put("special_tokens_map.json", '{"bos_token": "<eos>"}'),
    "config": edited("config.json", rms_norm_eps=0.5),
}
NO_CHANGES: dict[str, Callable[[Path], None]] = {
    "nothing": lambda model: None,
    "release": edited("config.json", transformers_version="4.0.0"),
    "release of the ends": edited("generation_config.json", transformers_version="4.0.0", _from_model_config=True),
    "place": edited("config.json", _name_or_path="/elsewhere"),
    "place of the tokenizer": edited("tokenizer_config.json", name_or_path="/elsewhere", is_local=False),
    "card": put("README.md", "# A model"),
    "license": put("LICENSE", "MIT"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_file_that_changes_what_a_policy_says_makes_another_policy(tmp_path: Path, change: str) -> None:
    before = policy_digest(saved(tmp_path))
    weights = model_weights(tmp_path)
    CHANGES[change](tmp_path)
    assert policy_digest(tmp_path) != before
    assert model_weights(tmp_path) == weights


@pytest.mark.parametrize("change", NO_CHANGES)
def test_what_cannot_change_what_it_says_does_not(tmp_path: Path, change: str) -> None:
    before = policy_digest(saved(tmp_path))
    NO_CHANGES[change](tmp_path)
    assert policy_digest(tmp_path) == before


def test_a_policy_that_is_loaded_and_saved_again_is_the_same(tmp_path: Path) -> None:
    first = saved(tmp_path / "first")
    save_policy(load_policy(first, torch.device("cpu")), tmp_path / "second")
    assert policy_digest(tmp_path / "second") == policy_digest(first)


def test_known_digests_are_not_computed_again_and_damaged_settings_count_by_their_bytes(tmp_path: Path) -> None:
    model = saved(tmp_path)
    digests = tree_digests(model)
    assert policy_digest(model, digests) == policy_digest(model) != policy_digest(model, {**digests, "tokenizer.json": "0"})
    before = [policy_digest(model)]
    for text in ("{", "[", "[]"):
        write_text(model / "config.json", text)
        before.append(policy_digest(model))
    assert len(set(before)) == 4


def stage_of(model: Path) -> PolicyStage:
    return PolicyStage(Finished("policy", "", model.parent, {"files": tree_digests(model.parent)}), True, 0.0)


@pytest.mark.parametrize("change", CHANGES)
def test_faults_every_stage_that_reads_a_policy_has_another_key(tmp_path: Path, change: str) -> None:
    policies = [stage_of(saved(tmp_path / name / "model")) for name in ("first", "second")]
    CHANGES[change](policies[1].model)
    policies[1] = stage_of(policies[1].model)
    assert policies[0].weights == policies[1].weights
    context, data, reward = context_of(tmp_path), data_stage(tmp_path / "d", sealed_0=2), reward_stage(tmp_path / "r")
    gold = gold_stage(tmp_path / "g")
    keys = []
    for policy in policies:
        arms = [replace(Models(*policies[:1] * 3), **{arm: policy}) for arm in ("challenger", "incumbent", "start")]
        looks = [
            lambda c, p=policy: validated_reward(c, data, p, gold),
            lambda c, p=policy: trained_candidate(c, data, p, reward),
        ]
        looks += [lambda c, m=models: dev_evaluation(c, data, m) for models in arms]
        looks += [lambda c, m=models: sealed_evaluation(c, data, m, "sealed_0", [], [], False) for models in arms]
        keys.append([key_of_look(context, look) for look in looks])
    assert all(first != second for first, second in zip(*keys, strict=True))
