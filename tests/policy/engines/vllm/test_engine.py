"""vLLM's side of the protocol, against a fake server: weights go in, completions come out, and nothing goes unnoticed."""

import time
from pathlib import Path

import pytest
import torch

from ratchet.components.errors import EngineError, ModelError
from ratchet.components.policy.adapters import add_lora
from ratchet.components.policy.engines.engine import Completion, SamplingRequest, SamplingSeed, SamplingSettings
from ratchet.components.policy.engines.vllm.engine import VllmEngine, opened
from ratchet.components.policy.engines.vllm.probe import groups_of, mismatch, sampled_log_probs, scored_log_probs
from ratchet.components.policy.loading import Policy
from tests.policy.engines.vllm.engines import PROMPTS, SEED, engine_on, settings_of
from tests.policy.engines.vllm.fake_server import serving
from tests.tiny_models import tiny_policy

ITEMS = [3, 1, 4, 15]
SETTINGS = SamplingSettings(2, 8)


def drawn(engine: VllmEngine, policy: Policy, items: list[int] = ITEMS, seed: SamplingSeed = SEED) -> list[list[Completion]]:
    return engine(policy, SamplingRequest(PROMPTS[: len(items)], items, SETTINGS, seed, policy.ends))


def tokens(results: list[list[Completion]]) -> list[list[list[int]]]:
    return [[completion.tokens for completion in group] for group in results]


def step(policy: Policy, size: float = 0.2) -> None:
    """What an optimiser does: other values at the same addresses."""
    with torch.no_grad():
        for number, parameter in enumerate(p for p in policy.model.parameters() if p.requires_grad):
            generator = torch.Generator().manual_seed(number)
            parameter.add_(torch.randn(parameter.shape, generator=generator) * size)


def test_completions_are_drawn_from_the_policy_that_was_given(tmp_path: Path) -> None:
    policy = tiny_policy()
    with serving() as fake, engine_on(fake.url, tmp_path) as engine:
        results = drawn(engine, policy)
    assert [len(group) for group in results] == [2] * 4
    assert mismatch(sampled_log_probs(results), scored_log_probs(policy, groups_of(PROMPTS, results))).mean_abs < 1e-4
    assert all(completion.entropies == [] for group in results for completion in group)
    assert list(tmp_path.rglob("*.safetensors")) == []


def test_a_draw_depends_on_its_names_alone(tmp_path: Path) -> None:
    policy = tiny_policy()
    with serving() as fake, engine_on(fake.url, tmp_path) as engine:
        whole = tokens(drawn(engine, policy))
        assert tokens(engine(policy, SamplingRequest([PROMPTS[2]], [4], SETTINGS, SEED, policy.ends))) == [whole[2]]
        assert tokens(drawn(engine, policy, seed=SamplingSeed(7, "test", 3))) != whole


def test_weights_are_sent_when_they_changed_and_not_again(tmp_path: Path) -> None:
    policy = tiny_policy()
    with serving() as fake, engine_on(fake.url, tmp_path) as engine:
        drawn(engine, policy)
        drawn(engine, policy)
        assert fake.routes() == ["/collective_rpc", "/reset_prefix_cache"]
        step(policy)
        drawn(engine, policy)
        assert fake.routes() == ["/collective_rpc", "/reset_prefix_cache"] * 2
        paths = [body["kwargs"]["weights_path"] for path, body in fake.asked if path == "/collective_rpc"]
        assert len(set(paths)) == 2
        assert [path.parent for path in tmp_path.rglob("*.safetensors")] == [Path(paths[1])]
        assert engine.updated is not None
        assert engine.updated.moved > 0.05
        assert engine.updated.new.mean_abs < 1e-4


def test_an_adapter_has_a_new_name_per_version_and_the_old_one_is_unloaded(tmp_path: Path) -> None:
    policy = tiny_policy()
    adapter = add_lora(policy, 4, 8, 0)
    with serving(policy=tiny_policy()) as fake, engine_on(fake.url, tmp_path, adapter) as engine:
        drawn(engine, policy)
        step(policy)
        results = drawn(engine, policy)
        load, unload, reset = "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/reset_prefix_cache"
        assert fake.routes() == [load, reset, load, unload, reset]
        names = [body["lora_name"] for path, body in fake.asked if path == load]
        assert [name.rpartition("-")[2] for name in names] == ["v1", "v2"]
        assert list(fake.adapters) == [names[1]]
        assert {body["model"] for path, body in fake.asked[-8:] if path == "/v1/completions"} == {names[1]}
    assert mismatch(sampled_log_probs(results), scored_log_probs(policy, groups_of(PROMPTS, results))).mean_abs < 1e-4


def test_a_server_that_shares_the_gpu_wakes_weights_first_and_its_cache_last(tmp_path: Path) -> None:
    policy = tiny_policy()
    with serving() as fake, engine_on(fake.url, tmp_path, sleep=True) as engine:
        drawn(engine, policy)
        assert fake.routes() == ["/collective_rpc", "/reset_prefix_cache", "/sleep"]
        first = tokens(drawn(engine, policy))  # the same weights, which it no longer has
        woken = ["/wake_up?weights", "/collective_rpc", "/wake_up?kv_cache", "/reset_prefix_cache", "/sleep"]
        assert fake.routes()[3:] == woken
        assert fake.asleep
        step(policy)
        assert tokens(drawn(engine, policy)) != first
        assert fake.routes()[8:] == woken


@pytest.mark.parametrize("sleep", [True, False])
def test_a_server_that_a_killed_run_left_asleep_is_woken(sleep: bool, tmp_path: Path) -> None:
    with serving() as fake, engine_on(fake.url, tmp_path, sleep=sleep) as engine:
        fake.asleep = {"weights", "kv_cache"}
        drawn(engine, tiny_policy())
        assert fake.routes()[:3] == ["/wake_up?weights", "/collective_rpc", "/wake_up?kv_cache"]


def test_a_server_that_sleeps_has_no_weights_below_an_adapter(tmp_path: Path) -> None:
    policy = tiny_policy()
    adapter = add_lora(policy, 4, 8, 0)
    with serving(policy=tiny_policy()) as fake, engine_on(fake.url, tmp_path, adapter) as engine:
        fake.asleep = {"weights", "kv_cache"}
        with pytest.raises(EngineError, match="sleeps, and has lost the weights"):
            drawn(engine, policy)
        assert fake.routes() == []


def test_a_server_without_sleep_mode_is_an_error(tmp_path: Path) -> None:
    with (
        serving("insomnia") as fake,
        engine_on(fake.url, tmp_path, sleep=True) as engine,
        pytest.raises(EngineError, match="--enable-sleep-mode"),
    ):
        drawn(engine, tiny_policy())


def test_ranks_draw_with_the_version_that_one_of_them_gave(tmp_path: Path) -> None:
    policy = tiny_policy()
    with serving() as fake, engine_on(fake.url, tmp_path / "0") as first, engine_on(fake.url, tmp_path / "1") as second:
        served = first.sync(policy)
        second.follow(served)
        request = SamplingRequest(PROMPTS, ITEMS, SETTINGS, SEED, policy.ends)
        parts = [engine.draw(policy, request.only([i, i + 1])) for i, engine in ((0, first), (2, second))]
        assert tokens(parts[0]) + tokens(parts[1]) == tokens(drawn(first, policy))
        assert not (tmp_path / "1").exists()


@pytest.mark.parametrize("lora", [False, True])
def test_stale_weights_are_noticed_at_the_update(lora: bool, tmp_path: Path) -> None:
    policy = tiny_policy()
    adapter = add_lora(policy, 4, 8, 0) if lora else None
    with serving(policy=tiny_policy()) as fake, engine_on(fake.url, tmp_path, adapter) as engine:
        drawn(engine, policy)
        fake.faults.add("stale")
        step(policy)
        with pytest.raises(EngineError, match="still computes with the old weights"):
            drawn(engine, policy)


@pytest.mark.parametrize("lora", [False, True])
def test_a_server_that_does_not_see_the_files_is_told_the_folder(lora: bool, tmp_path: Path) -> None:
    policy = tiny_policy()
    adapter = add_lora(policy, 4, 8, 0) if lora else None
    with (
        serving("sees_nothing", policy=tiny_policy()) as fake,
        engine_on(fake.url, tmp_path, adapter) as engine,
        pytest.raises(EngineError, match=r"See that it reads train\.sampling\.vllm\.folder at the same path"),
    ):
        drawn(engine, policy)


FAULTS = {
    "raw": "processed_logprobs",
    "stale": "are not this policy's",  # from the beginning: it serves other weights
    "aborts": "'abort'",
    "another_prompt": "another prompt",
    "strips_ends": "no usable|no token|without one of the policy's ends",
    "two_choices": "no usable choices",
    "impossible": "no drawn token has",
    "strange_token": "outside of the 300",
    "clamps": "--generation-config vllm",
    "huge": "more than",
    "dies": "start it again",
    "busy": "prefix cache",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_server_ends_the_rollout_with_its_cause(fault: str, tmp_path: Path) -> None:
    with serving(fault) as fake, engine_on(fake.url, tmp_path) as engine, pytest.raises(EngineError, match=FAULTS[fault]):
        drawn(engine, tiny_policy())


def test_a_server_that_hangs_is_given_up_in_time(tmp_path: Path) -> None:
    with serving("hangs") as fake, engine_on(fake.url, tmp_path, seconds=0.5) as engine:
        began = time.monotonic()
        with pytest.raises(EngineError, match=r"did not answer within 0\.5 s"):
            drawn(engine, tiny_policy())
        assert time.monotonic() - began < 5
        fake.over.set()


def test_what_the_server_would_cut_short_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    policy = tiny_policy()
    with serving(context=32) as fake, engine_on(fake.url, tmp_path) as engine:
        engine.sync(policy)
        sent = len(fake.asked)
        with pytest.raises(EngineError, match="context of 32"):
            engine.draw(policy, SamplingRequest([[5] * 30], [0], SETTINGS, SEED, policy.ends))
        with pytest.raises(ModelError, match="context of 128"):
            engine.draw(policy, SamplingRequest([[5] * 128], [0], SETTINGS, SEED, policy.ends))
        assert len(fake.asked) == sent


def test_prompts_that_fill_the_context_can_still_be_compared(tmp_path: Path) -> None:
    policy, long = tiny_policy(), [[5, 6] * 60]  # 8 tokens are left, and the compared text has 16
    with serving() as fake, opened(settings_of(fake.url, tmp_path), None, long, "run") as engine:
        assert len(engine(policy, SamplingRequest(long, [0], SETTINGS, SEED, policy.ends))[0]) == 2


def test_no_prompts_give_no_completions(tmp_path: Path) -> None:
    with serving() as fake, engine_on(fake.url, tmp_path) as engine:
        assert engine(tiny_policy(), SamplingRequest([], [], SETTINGS, SEED, [1])) == []
