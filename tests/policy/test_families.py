"""Every supported family, as tiny random models that went through a directory: sampled, scored, trained, adapted, saved."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from ratchet.components.policy.adapters import add_lora
from ratchet.components.policy.engines.engine import SamplingSeed, SamplingSettings
from ratchet.components.policy.engines.plain import generate, sample
from ratchet.components.policy.loading import Policy, load_policy, save_policy
from ratchet.components.policy.log_probs import completion_log_probs, score_tokens
from ratchet.components.policy.packing import Group, pack, pack_flat
from ratchet.components.policy.parity import check_scoring
from ratchet.components.policy.varlen_attention import serves
from ratchet.components.recipe import Train
from ratchet.components.training.actor import Actor
from ratchet.components.training.micro_batches import MicroBatch
from tests.policy.families import ENDS, FAMILIES, HEADS, random_model
from tests.policy.scoring import alone, gradient, groups_of, order_of, packed, sampled
from tests.tiny_models import same, tiny_policy, tiny_tokenizer, weights

CPU = torch.device("cpu")
GROUPS = [
    Group([5, 6, 7, 8, 9, 10], [[11, 12, 13, 14, 15], [16, 17, 1]]),  # both longer than the windows of 4
    Group([20], [[21, 22, 23]]),
]
PROMPTS = [[5, 6, 7, 8, 9, 10], [20]]
SEED = SamplingSeed(7, "test")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a saved model."""
    path = tmp_path_factory.mktemp("model")
    save_policy(Policy(random_model(deepcopy(FAMILIES[request.param])), tiny_tokenizer()), path)
    return path


def loaded(path: Path) -> Policy:
    return load_policy(path, CPU)


def as_batch(groups: list[Group], flat: bool = False) -> MicroBatch:
    rows = pack_flat(groups) if flat else pack(groups)
    return MicroBatch(rows, rows.sequence, rows.index, None)


def test_the_probe_passes(family: Path) -> None:
    check_scoring(loaded(family))


def test_contexts_show_in_log_probs(family: Path) -> None:
    model = loaded(family).model
    near, far = ([Group([*start, 8, 9, 10], [[11]])] for start in ([5, 6, 7], [5, 6, 70]))
    assert abs(float(packed(model, near) - packed(model, far))) > 1e-3  # else no mask could be seen to be wrong


def test_packing_changes_neither_log_probs_nor_gradients(family: Path) -> None:
    model = loaded(family).model
    ours, theirs = packed(model, GROUPS), alone(model, GROUPS)
    assert_close(ours, theirs, rtol=0, atol=1e-4)  # other kernels, fp32
    for one, other in zip(gradient(model, ours), gradient(model, theirs), strict=True):
        assert_close(one, other, rtol=1e-3, atol=1e-3 * max(1.0, float(other.abs().max())))  # sums of fp32 products


def test_a_flat_row_gives_the_same_where_the_family_attends_to_sequences(family: Path) -> None:
    model = loaded(family).model
    if not serves(model):
        pytest.skip("windows or caps: the mask says what is seen")
    rows = pack_flat(GROUPS, 16)
    ours, theirs = score_tokens(model, rows)[order_of(rows)], packed(model, GROUPS)
    assert_close(ours, theirs, rtol=0, atol=1e-4)  # other kernels, fp32
    for one, other in zip(gradient(model, ours), gradient(model, theirs), strict=True):
        assert_close(one, other, rtol=1e-3, atol=1e-3 * max(1.0, float(other.abs().max())))  # sums of fp32 products


def test_the_samplers_log_probs_are_those_of_scoring(family: Path) -> None:
    model = loaded(family).model
    drawn = sample(model, PROMPTS, [3, 1], SamplingSettings(2, 12), SEED, [])
    with torch.no_grad():
        scores = packed(model, groups_of(PROMPTS, drawn))
    assert_close(sampled(drawn), scores, rtol=0, atol=1e-4)  # cached against packed attention, fp32


def test_a_step_makes_completions_likelier(family: Path) -> None:
    policy = loaded(family)
    before, ungraded = completion_log_probs(policy, GROUPS), weights(policy.model)
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=1e-3)
    (-score_tokens(policy.model, pack(GROUPS)).sum()).backward()
    optimizer.step()
    assert not any(torch.equal(a, b) for a, b in zip(weights(policy.model), ungraded, strict=True))
    assert all(p.isfinite().all() for p in policy.model.parameters())
    assert sum(completion_log_probs(policy, GROUPS)) > sum(before)


def test_a_policy_survives_a_round_trip(family: Path, tmp_path: Path) -> None:
    policy = loaded(family)
    save_policy(policy, tmp_path)
    again = loaded(tmp_path)
    assert same(weights(again.model), weights(policy.model))
    assert completion_log_probs(again, GROUPS) == completion_log_probs(policy, GROUPS)
    assert again.encode_prompt("Ann has 3 apples") == policy.encode_prompt("Ann has 3 apples")


def test_an_adapter_is_learnt_and_merged(family: Path, tmp_path: Path) -> None:
    policy = loaded(family)
    before = completion_log_probs(policy, GROUPS)
    adapter = add_lora(policy, rank=4, alpha=8, seed=0)
    optimizer = torch.optim.AdamW([p for p in policy.model.parameters() if p.requires_grad], lr=1e-2)
    (-score_tokens(policy.model, pack(GROUPS)).sum()).backward()
    optimizer.step()
    after = completion_log_probs(policy, GROUPS)
    assert sum(after) > sum(before)
    assert adapter.reference().completion_log_probs(GROUPS) == before
    save_policy(adapter.merge(), tmp_path)
    assert completion_log_probs(loaded(tmp_path), GROUPS) == pytest.approx(after, abs=1e-4)


@pytest.mark.parametrize("lora", [None, {"rank": 4, "alpha": 8}], ids=["full", "lora"])
def test_layers_that_are_computed_again_give_the_same_gradients(family: Path, lora: dict[str, int] | None) -> None:
    def gradients(again: bool) -> list[torch.Tensor]:
        actor = Actor(loaded(family), Train.model_validate({"lora": lora, "gradient_checkpointing": again}), seed=0)
        with actor.updating():
            log_probs, _ = actor(as_batch(GROUPS, serves(actor.model)), 1.0)
            (log_probs * torch.linspace(-1, 1, len(log_probs))).sum().backward()
        return [p.grad for p in actor.parameters() if p.grad is not None]

    plain, again = gradients(False), gradients(True)
    assert any(g.abs().max() > 1e-3 for g in plain)
    assert same(plain, again)


def test_layers_are_computed_again_only_while_updating() -> None:
    actor, calls = Actor(tiny_policy(layers=2), Train(gradient_checkpointing=True), seed=0), []
    for layer in actor.model.base_model.layers:
        layer.mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    with actor.updating():
        actor(as_batch(GROUPS), 1.0)[0].sum().backward()
    assert len(calls) == 4  # twice through two layers
    calls.clear()
    actor(as_batch(GROUPS), 1.0)[0].sum().backward()
    assert len(calls) == 2


def test_a_policy_that_computes_layers_again_samples_as_before() -> None:
    settings, expected = (
        SamplingSettings(2, 12),
        generate(tiny_policy(layers=2), PROMPTS, [3, 1], SamplingSettings(2, 12), SEED),
    )
    actor = Actor(tiny_policy(layers=2), Train(gradient_checkpointing=True), seed=0)
    assert generate(actor.policy, PROMPTS, [3, 1], settings, SEED) == expected


@pytest.mark.parametrize(("changed", "seen"), [(0, False), (1, False), (2, True), (4, True)])
def test_a_window_hides_what_lies_before_it(changed: int, seen: bool) -> None:
    # Two layers with a window of 4 reach 6 positions back: the predictor at position 8 sees those from 2 on.
    model = random_model(deepcopy(FAMILIES["mistral, window of 4"]))
    prompt = list(range(5, 14))
    other = [*prompt[:changed], 99, *prompt[changed + 1 :]]
    # the second completion stands far from its prompt in columns, and near in positions
    scores = [packed(model, [Group(p, [[20] * 20, [30]])])[-1] for p in (prompt, other)]
    assert torch.allclose(scores[0], scores[1], rtol=0, atol=1e-5) != seen


def test_with_padding_and_end_of_sequence_one_token_completions_end_with_it_and_it_is_scored() -> None:
    tokenizer = deepcopy(tiny_tokenizer())
    tokenizer.pad_token = tokenizer.eos_token
    config: Any = type(FAMILIES["qwen3"])(**{**HEADS, **ENDS, "pad_token_id": 1})
    policy = Policy(random_model(config), tokenizer)
    settings = SamplingSettings(32, 40, temperature=5.0)  # nearly uniform: one token of 300 is the end
    drawn = generate(policy, PROMPTS, [3, 1], settings, SEED)
    flat = [c for group in drawn for c in group]
    assert 0 < sum(c.finished for c in flat) < len(flat)
    assert all(c.tokens.count(1) == c.finished and (c.tokens[-1] == 1) == c.finished for c in flat)
    rows = pack(groups_of(PROMPTS, drawn))
    with torch.no_grad():
        ends = score_tokens(policy.model, rows, 5.0)[rows.targets == 1]
    assert len(ends) == sum(c.finished for c in flat)
    theirs = [c.log_probs[-1] for c in flat if c.finished]
    assert sorted(ends.tolist()) == pytest.approx(sorted(theirs), abs=1e-4)


def test_with_padding_and_end_of_sequence_one_token_texts_keep_their_end() -> None:
    tokenizer = deepcopy(tiny_tokenizer())
    tokenizer.pad_token = tokenizer.eos_token
    policy = Policy(tiny_policy().model, tokenizer)
    assert policy.encode_completion("four")[-1] == policy.end_of_sequence
    assert policy.decode(policy.encode_completion("four")) == "four"
