"""Adapters: what they change, what they leave alone, and what is saved."""

import sys
from pathlib import Path

import pytest
import torch

from ratchet.components.errors import ModelError
from ratchet.components.policy.adapters import Adapter, Reference, add_lora, kept_on_host
from ratchet.components.policy.loading import load_policy, save_policy
from ratchet.components.policy.log_probs import completion_log_probs, score_tokens
from ratchet.components.policy.packing import Group, pack
from tests.tiny_models import same, tiny_policy, weights

GROUPS = [Group([5, 6], [[7, 8, 1], [9, 1]]), Group([10], [[11, 12]])]
CPU = torch.device("cpu")


def adapter(seed: int = 0) -> Adapter:
    return add_lora(tiny_policy(layers=2), rank=4, alpha=8, seed=seed)


def trainable(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def learn(adapter: Adapter, steps: int = 2) -> None:
    """Make the completions of GROUPS likelier; from the second step on both factors move."""
    model = adapter.policy.model
    optimizer = torch.optim.AdamW(trainable(model).values(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        (-score_tokens(model, pack(GROUPS).to(model.device)).sum()).backward()
        optimizer.step()


@pytest.fixture
def learnt() -> Adapter:
    made = adapter()
    learn(made)
    return made


def test_at_the_start_the_adapter_changes_nothing() -> None:
    assert completion_log_probs(adapter().policy, GROUPS) == completion_log_probs(tiny_policy(layers=2), GROUPS)


def test_only_the_adapter_is_trainable() -> None:
    names = trainable(adapter().policy.model)
    assert names
    assert all("lora_" in name for name in names)


def test_every_linear_layer_but_the_head_has_an_adapter() -> None:
    model = adapter().policy.model
    adapted = {name.split(".lora_")[0] for name in trainable(model)}
    linear = {name for name, module in tiny_policy(layers=2).model.named_modules() if isinstance(module, torch.nn.Linear)}
    assert adapted == linear - {"lm_head"}


def test_training_an_adapter_leaves_the_models_weights_alone(learnt: Adapter) -> None:
    own = [p for name, p in learnt.policy.model.named_parameters() if "lora_" not in name]
    assert same(own, weights(tiny_policy(layers=2).model))


def test_the_policy_learns_while_its_reference_stays(learnt: Adapter) -> None:
    before = completion_log_probs(tiny_policy(layers=2), GROUPS)
    after = completion_log_probs(learnt.policy, GROUPS)
    assert all(new > old + 0.1 for new, old in zip(after, before, strict=True))
    assert learnt.reference().completion_log_probs(GROUPS) == before
    assert completion_log_probs(learnt.policy, GROUPS) == after  # the adapter is on again


def test_after_a_look_at_the_reference_the_adapter_is_still_trained(learnt: Adapter) -> None:
    names, before = set(trainable(learnt.policy.model)), completion_log_probs(learnt.policy, GROUPS)
    learnt.reference().completion_log_probs(GROUPS)
    assert set(trainable(learnt.policy.model)) == names
    learn(learnt, steps=1)
    assert sum(completion_log_probs(learnt.policy, GROUPS)) > sum(before)


def test_a_reference_of_its_own_needs_no_adapter() -> None:
    assert Reference(tiny_policy()).completion_log_probs(GROUPS) == completion_log_probs(tiny_policy(), GROUPS)


def test_a_seldom_used_reference_is_on_the_device_only_while_it_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, places = tiny_policy(), []
    monkeypatch.setattr(policy.model, "to", lambda place: places.append(str(place)) or policy.model)
    reference = kept_on_host(policy)
    assert reference.completion_log_probs(GROUPS) == completion_log_probs(tiny_policy(), GROUPS)
    assert places == ["cpu", str(policy.model.device), "cpu"]
    with pytest.raises(IndexError):
        reference.completion_log_probs([Group([5], [[10**6]])])  # no such token
    assert places[-1] == "cpu"


def test_the_seed_fixes_the_adapter() -> None:
    first, again, other = (list(trainable(adapter(seed).policy.model).values()) for seed in (3, 3, 4))
    assert same(first, again)
    assert not same(first, other)


def test_adding_an_adapter_leaves_torchs_own_generator_alone() -> None:
    before = torch.get_rng_state()
    adapter()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_saved_adapter_is_safetensors_and_holds_no_model(learnt: Adapter, tmp_path: Path) -> None:
    learnt.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    elements = sum(p.numel() for p in trainable(learnt.policy.model).values())
    assert (tmp_path / "adapter_model.safetensors").stat().st_size < 4 * elements + 10_000  # fp32 and a header


def test_saving_an_adapter_asks_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: object, **__: object) -> bool:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("peft.utils.save_and_load.check_file_exists_on_hf_hub", ask)
    made = adapter()
    made.peft.peft_config["default"].base_model_name_or_path = "someone/model"
    made.save(tmp_path)


def test_merging_gives_a_plain_model_with_the_adapted_log_probs(learnt: Adapter) -> None:
    adapted = completion_log_probs(learnt.policy, GROUPS)
    merged = learnt.merge()
    assert [n for n, _ in merged.model.named_parameters()] == [n for n, _ in tiny_policy(layers=2).model.named_parameters()]
    assert completion_log_probs(merged, GROUPS) == pytest.approx(adapted, abs=1e-4)


def test_a_merged_policy_survives_a_round_trip(learnt: Adapter, tmp_path: Path) -> None:
    merged = learnt.merge()
    save_policy(merged, tmp_path / "model")
    loaded = load_policy(tmp_path / "model", CPU)
    assert same(weights(loaded.model), weights(merged.model))
    assert completion_log_probs(loaded, GROUPS) == completion_log_probs(merged, GROUPS)


def test_without_peft_the_extra_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModelError, match=r"peft, which is not installed.*\[lora\]"):
        adapter()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_an_adapter_learns_and_its_reference_stays() -> None:
    policy = tiny_policy(layers=2)
    policy.model.to("cuda")
    before = completion_log_probs(policy, GROUPS)
    made = add_lora(policy, rank=4, alpha=8, seed=0)
    assert same([p.cpu() for p in trainable(policy.model).values()], list(trainable(adapter().policy.model).values()))
    learn(made)
    after = completion_log_probs(policy, GROUPS)
    assert sum(after) > sum(before)
    assert made.reference().completion_log_probs(GROUPS) == pytest.approx(before, abs=1e-3)
    assert completion_log_probs(made.merge(), GROUPS) == pytest.approx(after, abs=0.2)  # bf16 of a sum, not sum of bf16
