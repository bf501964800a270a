"""Training on a server's completions: the loop is the same, and it is known who drew."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ratchet.components.errors import EngineError
from ratchet.components.launch.ranks import Ranks
from ratchet.components.policy.engines.default import generate
from ratchet.components.policy.engines.engine import SamplingRequest, SamplingSeed, SamplingSettings
from ratchet.components.recipe import Train
from ratchet.components.training.actor import Actor
from ratchet.components.training.loop import Trainer
from ratchet.components.training.sampling_engine import engine_name, sampling_engine
from tests.policy.engines.vllm.fake_server import serving
from tests.ranks import on_ranks
from tests.tiny_models import tiny_policy
from tests.training.toy import ROWS, finish, setting, short, steps_of


def on(url: str, folder: Path, **given: Any) -> Train:
    vllm = {"url": url, "folder": str(folder), "seconds": 5.0, "parallel": 4}
    return short(sampling={"engine": "vllm", "vllm": vllm, "temperature": 0.8}, kl="none", **given)


def test_our_own_engine_needs_no_server() -> None:
    train = short()
    with sampling_engine(train, Actor(tiny_policy(), train, 7), ROWS, "a1") as engine:
        assert engine is generate
        assert engine_name(engine) is None


@pytest.mark.parametrize("lora", [None, {"rank": 4}])
def test_a_server_draws_from_each_steps_weights(tmp_path: Path, lora: Any) -> None:
    with serving(policy=tiny_policy()) as fake:
        train = on(fake.url, tmp_path / "weights", lora=lora, epochs=1, lr=0.05)
        actor = Actor(tiny_policy(), train, 7)
        with sampling_engine(train, actor, ROWS, "a1") as engine:
            assert engine_name(engine) == "vllm 0.31.0"
            trainer = Trainer(actor, None, setting(tmp_path / "checkpoints", train, engine=engine))
            figures = steps_of(finish(trainer))
    assert len(figures) == 4
    assert trainer.corrects
    assert max(values["mismatch/log_prob_mean_abs"] for values in figures) < 1e-4
    assert [values["sampling/importance_sampling_ratio/mean"] for values in figures] == pytest.approx([1.0] * 4, abs=1e-3)
    assert "entropy" not in figures[0]  # left out, not zero
    routes = [route for route in fake.routes() if route in ("/v1/load_lora_adapter", "/collective_rpc")]
    assert len(routes) == 4  # the start's, and one after each update but the last
    assert list((tmp_path / "weights").iterdir()) == []


def drawn(ranks: Ranks, url: str, folder: Path) -> tuple[list[list[int]], str | None]:
    """What a rank draws of its own prompts, before and after an update, and who drew."""
    train = on(url, folder)
    actor, settings, part = Actor(tiny_policy(), train, 7), SamplingSettings(2, 6), ranks.part(4)
    found = []
    with sampling_engine(train, actor, ROWS, "a1", ranks) as engine:
        for step in range(2):
            prompts = [actor.policy.encode_row(row) for row in ROWS[:4]]
            seed = SamplingSeed(7, "rollout", step)
            request = SamplingRequest(prompts[part], range(4)[part], settings, seed, actor.policy.ends)
            groups = engine(actor.policy, request)
            found += [completion.tokens for group in groups for completion in group]
            ranks.barrier()  # as the loop's exchange of rollouts is one
            with torch.no_grad():
                for parameter in actor.parameters():
                    parameter.mul_(1.1)
        name = engine_name(engine)
    return found, name


@pytest.mark.slow
def test_ranks_share_a_server_that_is_given_each_version_once(tmp_path: Path) -> None:
    with serving(policy=tiny_policy()) as fake:
        (one,) = on_ranks(1, drawn, fake.url, tmp_path / "one")
        before = fake.routes().count("/collective_rpc")
        two = on_ranks(2, drawn, fake.url, tmp_path / "two")
        assert (before, fake.routes().count("/collective_rpc")) == (2, 4)
    assert [name for _, name in two] == ["vllm 0.31.0"] * 2
    whole, first, second = one[0], two[0][0], two[1][0]
    assert [*first[:4], *second[:4], *first[4:], *second[4:]] == whole
    assert list((tmp_path / "two").iterdir()) == []


def test_a_server_does_not_sleep_for_several_ranks(tmp_path: Path) -> None:
    vllm = {"url": "http://127.0.0.1:1", "folder": str(tmp_path), "sleep": True}
    train = short(kl="none", sampling={"engine": "vllm", "vllm": vllm})
    actor = Actor(tiny_policy(), train, 7)
    with pytest.raises(EngineError, match="2 ranks"), sampling_engine(train, actor, ROWS, "a1", Ranks(0, 2)):
        pass


def test_every_rank_has_a_prompt(tmp_path: Path) -> None:
    train = on("http://127.0.0.1:1", tmp_path)  # of 3 prompts
    actor = Actor(tiny_policy(), train, 7)
    with pytest.raises(EngineError, match=r"train\.prompts=3"), sampling_engine(train, actor, ROWS, "a1", Ranks(0, 4)):
        pass


def test_shards_are_refused(tmp_path: Path) -> None:
    train = on("http://127.0.0.1:1", tmp_path)
    actor, ranks = Actor(tiny_policy(), train, 7), Ranks(0, 2, sharded=True)
    with pytest.raises(EngineError, match=r"launch\.weights=replicated"), sampling_engine(train, actor, ROWS, "a1", ranks):
        pass


def test_a_server_of_an_unknown_release_is_refused_before_training(tmp_path: Path) -> None:
    with serving(version="0.40.0") as fake:
        train = on(fake.url, tmp_path)
        with pytest.raises(EngineError, match=r"0\.40\.0"), sampling_engine(train, Actor(tiny_policy(), train, 7), ROWS, "a1"):
            pass
