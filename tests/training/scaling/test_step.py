"""Seconds and bytes of a step: by hand on a small shape, and against what an H200 took."""

from dataclasses import replace
from typing import Any

import pytest

from ratchet.components.policy.configuration import ModelShape, shape_of, stated_configuration
from ratchet.components.recipe import Train
from ratchet.components.training.matrices import lora_parameters
from ratchet.components.training.price import SIZES
from ratchet.components.training.scaling.cluster import GPUS, NOTHING, Cluster, Gpu
from ratchet.components.training.scaling.step import (
    Rates,
    Work,
    batch_seconds,
    decode_seconds,
    rollout_seconds,
    scoring_seconds,
    traffic,
    update_seconds,
)

SHAPE = ModelShape(2, 8, 20, 2, 1, 4, 100, parameters=2000, head_parameters=0)
SLOW = Gpu("slow", 0, bandwidth=1e4, bf16=1e6, fp32=1e5, link=1e3, network=1e2)
RATES = Rates(
    decode_layer=1.0, decode_share=0.5, utilisation=0.1, eager=0.05, queue=2.0, figures=0.25, read=0.5, host_network=28.0
)


def work(workers: int = 4, low: bool = True, shape: ModelShape = SHAPE, sharded: bool = False, **train: Any) -> Work:
    """A rank with four prompts of three tokens, and two completions of five tokens for each: 13 tokens per group."""
    settings = Train.model_validate({"prompts": 4, "k": 2, "kl": "none", "micro_tokens": 26, **train})
    return Work(settings, 4 * workers, shape, 3, 5, low, Cluster(SLOW, workers), RATES, sharded)


@pytest.mark.parametrize(
    ("low", "head", "moved"),
    [
        (True, 0, 2 * 2000 + 8 * (5.5 * 2 * 2 * 4 * 2 + 1200)),  # context 3 + 5 / 2; keys and values of two layers, width 4
        (False, 0, 4 * 2000 + 8 * (5.5 * 2 * 2 * 4 * 4 + 1200)),
        (True, 800, 2 * 1200 + 8 * (5.5 * 2 * 2 * 4 * 2 + 1200)),  # embeddings of an untied head are looked up
    ],
)
def test_a_decode_step_reads_weights_and_context_and_passes_over_the_logits(low: bool, head: int, moved: float) -> None:
    found = decode_seconds(work(low=low, shape=replace(SHAPE, head_parameters=head)), rows=8)
    assert found == pytest.approx(2 * 1.0 + moved / (1e4 * 0.5))


def test_rollouts_are_the_prompts_pass_and_a_decode_step_per_token() -> None:
    prefill = 2 * (2000 - 800) * 4 * 3 / (1e6 * 0.1)
    assert rollout_seconds(work()) == pytest.approx(prefill + 5 * decode_seconds(work(), 8))


def test_more_rows_than_slots_take_rounds() -> None:
    many = work(prompts=513, k=2)  # 1,026 rows: three rounds of 342
    prefill = 2 * 1200 * 513 * 3 / 1e5
    assert rollout_seconds(many) == pytest.approx(prefill + 3 * 5 * decode_seconds(many, 342))


def test_an_update_computes_or_waits_for_the_host() -> None:
    assert work().learning_passes == (2, 0)  # two groups of 13 tokens each
    assert update_seconds(work()) == 2 * 2 * 2.0
    products = work().operations.update / 1e5
    assert update_seconds(replace(work(), rates=replace(RATES, queue=0.0))) == pytest.approx(products)
    assert scoring_seconds(work()) == 0
    assert scoring_seconds(work(kl="loss", sharded=True)) == 2 * scoring_seconds(work(kl="loss"))  # its layers are not compiled
    assert scoring_seconds(work(kl="loss")) == pytest.approx(work(kl="loss").operations.scoring / 1e5)


@pytest.mark.parametrize(
    ("settings", "passes"),
    [
        ({"epochs": 3}, (6, 0)),
        ({"minibatches": 4}, (4, 0)),
        ({"micro_tokens": 12}, (4, 0)),  # a group is not cut
        ({"algorithm": "ppo", "critic": {"minibatches": 4}}, (2, 4)),
        ({"algorithm": "ppo", "critic": {"trunk": "shared"}}, (2, 0)),
    ],
)
def test_passes_of_policy_and_critic(settings: dict[str, Any], passes: tuple[int, int]) -> None:
    assert work(**settings).learning_passes == passes


def test_every_rank_reads_and_judges_the_whole_batch() -> None:
    """Of 160 tokens 120 are of other ranks, 28 bytes each at 28 per second."""
    assert batch_seconds(work()) == pytest.approx(160 * 0.25 + 120 * (0.5 + 1.0))
    assert batch_seconds(work(workers=1)) == pytest.approx(40 * 0.25)
    assert traffic(work()).rollouts == 120 * 28


def test_gradients_are_summed_once_per_optimiser_step() -> None:
    found = traffic(work(minibatches=2, epochs=3))
    assert found.gradients.bytes == 2 * 3 / 4 * 4 * 2000 * 6
    assert (found.weights, found.sampler) == (NOTHING, NOTHING)
    assert found.exposed(computing=1e9) == found.gradients.seconds


def test_only_what_learns_has_gradients_to_send() -> None:
    lora = traffic(work(lora={"rank": 2})).gradients.bytes
    assert lora == 2 * 3 / 4 * 4 * lora_parameters(SHAPE, 2)
    ppo = traffic(work(algorithm="ppo", critic={"minibatches": 4})).gradients.bytes
    assert ppo == 2 * 3 / 4 * 4 * (2000 + 4 * 2000)  # one update of the policy, four of the critic


def test_shares_are_gathered_for_each_pass_and_gradients_scattered() -> None:
    """Two passes of the policy, each with two gathers of 2 bytes per weight; the reference scores in two passes."""
    found = traffic(work(sharded=True, kl="loss"))
    assert found.weights.bytes == 3 / 4 * 2 * 2000 * (2 * 2 + 2)
    assert found.gradients.bytes == 3 / 4 * 4 * 2000 * 2
    assert found.sampler.bytes == 3 / 4 * 2 * 2000


def test_a_critic_has_shares_of_its_own() -> None:
    plain, ppo = traffic(work(sharded=True)), traffic(work(sharded=True, algorithm="ppo"))
    assert ppo.weights.bytes - plain.weights.bytes == 3 / 4 * 2 * 2000 * (2 * 2 + 2)  # it scores and learns
    assert ppo.gradients.bytes == 2 * plain.gradients.bytes


def test_only_what_is_not_hidden_takes_time() -> None:
    found = traffic(work(sharded=True))
    moving = found.weights.seconds + found.gradients.seconds
    assert found.exposed(computing=moving + 1) == found.sampler.seconds
    assert found.exposed(computing=moving - 1) == pytest.approx(1 + found.sampler.seconds)


# What an H200 took, from which the rates come: docs/engines.md and docs/results.md. The small update is not one of those.


def measured(**train: Any) -> Work:
    shape = shape_of(stated_configuration(SIZES["Qwen2.5-0.5B"], "0.5B"))
    settings = Train.model_validate({"prompts": 64, "k": 8, "kl": "none", **train})
    return Work(settings, 64, shape, 128, 256, True, Cluster(GPUS["h200"], 1))


@pytest.mark.parametrize(("slots", "milliseconds"), [(32, 1.93), (128, 2.22), (512, 3.91), (1024, 6.21)])
def test_decode_steps_are_what_a_gpu_took(slots: int, milliseconds: float) -> None:
    assert decode_seconds(measured(), slots) * 1000 == pytest.approx(milliseconds, rel=0.06)


def test_rollouts_are_what_a_gpu_took() -> None:
    assert rollout_seconds(measured()) == pytest.approx(1.109, rel=0.08)


@pytest.mark.parametrize(("micro_tokens", "seconds"), [(16_384, 1.21), (12_288, 1.73), (8_192, 2.82)])
def test_updates_are_what_a_gpu_took(micro_tokens: int, seconds: float) -> None:
    assert update_seconds(measured(micro_tokens=micro_tokens)) == pytest.approx(seconds, rel=0.07)
