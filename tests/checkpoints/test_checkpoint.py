"""Checkpoints: training continues from the newest whole one. Killed saves are in test_resume.py."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ratchet.components.checkpoints import checkpoint as checkpoints
from ratchet.components.checkpoints.checkpoint import (
    Pace,
    Resumption,
    load_latest,
    load_weights,
    other_weights,
    prune,
    save_checkpoint,
    set_learning_rate,
    trained_state,
    weights_of,
)
from ratchet.components.errors import PausedError, StoreError
from ratchet.components.training.optimizers import build_optimizer
from tests.tiny_models import moments, same, tiny_policy, weights

Pair = tuple[torch.nn.Module, torch.optim.Optimizer]


def trained(seed: int, steps: int) -> Pair:
    """A tied model and an AdamW that has taken some steps."""
    model = tiny_policy(seed).model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(steps):
        model(input_ids=torch.tensor([[5, 6, 7 + step]])).logits.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def save(root: Path, step: int, **state: object) -> Path:
    return save_checkpoint(root, step, {"policy": trained(0, step)}, state)


def restored(root: Path) -> int:
    state = load_latest(root, {"policy": trained(9, 0)})
    assert state is not None
    return int(state["step"])


def damage(checkpoint: Path, name: str = "policy.safetensors") -> None:
    """Flip one bit of the last weight: the file still loads, with another number in it."""
    content = bytearray((checkpoint / name).read_bytes())
    content[-1] ^= 1
    (checkpoint / name).write_bytes(content)


def test_weights_moments_and_state_survive_a_round_trip(tmp_path: Path) -> None:
    original, fresh = trained(0, 3), trained(9, 0)
    save_checkpoint(tmp_path, 3, {"policy": original}, {"note": {"a": [1, None]}})
    assert load_latest(tmp_path, {"policy": fresh}) == {"step": 3, "note": {"a": [1, None]}}
    assert same(weights(fresh[0]), weights(original[0]))
    assert same(moments(fresh[1]), moments(original[1]))


def test_tied_weights_are_still_tied_after_a_round_trip(tmp_path: Path) -> None:
    model, optimizer = trained(9, 0)
    save(tmp_path, 1)
    load_latest(tmp_path, {"policy": (model, optimizer)})
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def test_a_restored_optimiser_takes_the_same_next_step(tmp_path: Path) -> None:
    original, fresh = trained(0, 2), trained(9, 0)
    save_checkpoint(tmp_path, 2, {"policy": original}, {})
    load_latest(tmp_path, {"policy": fresh})
    for model, optimizer in (original, fresh):
        model(input_ids=torch.tensor([[4, 4]])).logits.square().mean().backward()
        optimizer.step()
    assert same(weights(fresh[0]), weights(original[0]))


def test_an_optimiser_that_never_stepped_survives_too(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 0, {"policy": trained(0, 0)}, {})
    fresh = trained(9, 2)
    load_latest(tmp_path, {"policy": fresh})
    assert moments(fresh[1]) == []


def test_without_a_checkpoint_training_starts_from_the_start(tmp_path: Path) -> None:
    assert load_latest(tmp_path / "nowhere", {"policy": trained(0, 0)}) is None


def test_the_newest_checkpoint_is_taken(tmp_path: Path) -> None:
    for step in (2, 10, 4):
        save(tmp_path, step)
    assert restored(tmp_path) == 10


@pytest.mark.parametrize("name", ["policy.safetensors", "policy.optimizer.safetensors", "state.json", "manifest.json"])
def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(tmp_path: Path, name: str) -> None:
    save(tmp_path, 1)
    damage(save(tmp_path, 2), name)
    assert restored(tmp_path) == 1
    assert [p.name for p in tmp_path.glob("step_*")] == ["step_000001"]
    assert len(list(tmp_path.glob("corrupt.step_000002.*"))) == 1


def test_a_missing_file_is_damage(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (save(tmp_path, 2) / "policy.optimizer.safetensors").unlink()
    assert restored(tmp_path) == 1


def test_training_never_starts_over_in_silence_when_every_checkpoint_is_damaged(tmp_path: Path) -> None:
    damage(save(tmp_path, 1))
    damage(save(tmp_path, 2))
    for _ in range(2):  # a second attempt, as a retry makes it, must not find an empty directory
        with pytest.raises(StoreError, match="train from the start"):
            load_latest(tmp_path, {"policy": trained(9, 0)})


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4, 5):
        save(tmp_path, step)
    prune(tmp_path, keep=2, best=(0, 1))
    assert sorted(p.name for p in tmp_path.glob("step_*")) == ["step_000001", "step_000004", "step_000005"]


def test_checkpoints_are_ordered_by_number_beyond_a_million_steps(tmp_path: Path) -> None:
    for step in (999_980, 999_990, 1_000_000, 1_000_010):
        save_checkpoint(tmp_path, step, {"policy": trained(0, 1)}, {})
    prune(tmp_path, keep=2)
    assert {p.name for p in tmp_path.glob("step_*")} == {"step_1000000", "step_1000010"}
    assert restored(tmp_path) == 1_000_010


def test_a_single_checkpoint_is_never_all_there_is(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        prune(tmp_path, keep=1, best=())


def test_one_checkpoints_weights_can_be_taken_alone(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    model, _ = trained(9, 0)
    load_weights(model, weights_of(tmp_path, 1, "policy"))
    assert same(weights(model), weights(trained(0, 1)[0]))


def test_a_module_has_other_weights_within_a_block_alone() -> None:
    model, other = trained(0, 1)[0], trained(9, 0)[0]
    before, parameters = weights(model), list(model.parameters())
    with other_weights(model, trained_state(other)):
        assert same(weights(model), weights(other))
    assert same(weights(model), before)
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))  # the optimiser has these


def test_damaged_weights_are_not_taken(tmp_path: Path) -> None:
    damage(save(tmp_path, 1))
    with pytest.raises(StoreError):
        weights_of(tmp_path, 1, "policy")


def test_frozen_weights_are_not_kept() -> None:
    model, _ = trained(0, 0)
    everything = trained_state(model)
    model.get_input_embeddings().weight.requires_grad_(False)
    assert everything.keys() - trained_state(model).keys() == {"model.embed_tokens.weight"}


def test_a_tied_tensor_is_kept_once() -> None:
    model, _ = trained(0, 0)
    assert {"model.embed_tokens.weight", "lm_head.weight"} & trained_state(model).keys() == {"model.embed_tokens.weight"}


def test_frozen_weights_stay_as_they_are_when_the_rest_is_restored(tmp_path: Path) -> None:
    model, optimizer = trained(0, 0)
    model.get_input_embeddings().weight.requires_grad_(False)
    save_checkpoint(tmp_path, 1, {"policy": (model, optimizer)}, {})
    other, fresh = trained(9, 0)
    other.get_input_embeddings().weight.requires_grad_(False)
    frozen = other.get_input_embeddings().weight.detach().clone()
    load_latest(tmp_path, {"policy": (other, fresh)})
    assert torch.equal(other.get_input_embeddings().weight, frozen)
    assert same([*trained_state(other).values()], [*trained_state(model).values()])


def test_another_models_checkpoint_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 1)
    linear = torch.nn.Linear(2, 2)
    with pytest.raises(StoreError, match=r"another model .* Delete it to train from the start"):
        load_latest(tmp_path, {"policy": (linear, torch.optim.AdamW(linear.parameters()))})


def test_a_checkpoint_that_is_refused_changes_nothing(tmp_path: Path) -> None:
    def refuse(state: dict[str, Any]) -> None:
        raise StoreError(f"this is {state['owner']}'s")

    save(tmp_path, 1, owner="somebody")
    fresh = trained(9, 0)
    before = weights(fresh[0])
    with pytest.raises(StoreError, match="this is somebody's"):
        load_latest(tmp_path, {"policy": fresh}, refuse)
    assert same(weights(fresh[0]), before)


def test_several_modules_are_kept_beside_each_other(tmp_path: Path) -> None:
    pairs, fresh = {"policy": trained(0, 2), "critic": trained(1, 1)}, {"policy": trained(9, 0), "critic": trained(8, 0)}
    save_checkpoint(tmp_path, 2, pairs, {})
    load_latest(tmp_path, fresh)
    for name, (model, optimizer) in fresh.items():
        assert same(weights(model), weights(pairs[name][0]))
        assert same(moments(optimizer), moments(pairs[name][1]))


# Moments in 8 bits.


def quantised(seed: int, steps: range = range(0)) -> Pair:
    """One matrix of 8,192 values, whose moments take 8 bits, and tensors whose moments do not; and some steps."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(64, 128), nn.Linear(128, 3))
    pair = module, build_optimizer("adamw_8bit", list(module.parameters()), 1e-2)
    descend(pair, steps)
    return pair


def descend(pair: Pair, steps: range) -> None:
    module, optimizer = pair
    for step in steps:
        set_learning_rate(optimizer, 1e-2 / (step + 1))
        module(torch.randn(4, 64, generator=torch.Generator().manual_seed(step))).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_two_steps_and_two_resumed_ones_are_four_in_8_bits_too(tmp_path: Path) -> None:
    whole, resumed = quantised(0, range(4)), quantised(9)
    save_checkpoint(tmp_path, 2, {"policy": quantised(0, range(2))}, {})
    load_latest(tmp_path, {"policy": resumed})
    descend(resumed, range(2, 4))
    assert same(weights(resumed[0]), weights(whole[0]))
    assert same(moments(resumed[1]), moments(whole[1]))
    state = resumed[1].state[resumed[0][0].weight]  # type: ignore[index]
    assert (state["exp_avg"].signed, state["exp_avg_sq"].signed) == (True, False)


def test_moments_in_8_bits_are_saved_by_name_and_nothing_is_pickled(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 1, {"policy": quantised(0, range(1))}, {})
    saved = load_file(path / "policy.optimizer.safetensors")
    of_the_matrix = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in saved.items() if name.startswith("0.weight")}
    moment = {"codes": (torch.uint8, (128, 64)), "scale": (torch.float32, (32,)), "qmap": (torch.float32, (256,))}
    parts = {f"0.weight.{key}.{part}": value for key in ("exp_avg", "exp_avg_sq") for part, value in moment.items()}
    assert of_the_matrix == {**parts, "0.weight.step": (torch.float32, ())}
    assert saved["1.weight.exp_avg"].dtype is torch.float32
    assert {file.suffix for file in path.iterdir()} == {".safetensors", ".json"}


def test_scales_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    module, optimizer = quantised(0, range(1))
    optimizer.state[module[0].weight]["exp_avg_sq"].scale[3] = math.inf  # type: ignore[index]
    save_checkpoint(tmp_path, 1, {"policy": (module, optimizer)}, {})
    with pytest.raises(StoreError, match=r"NaN or infinity .*0.weight.exp_avg_sq.scale"):
        load_latest(tmp_path, {"policy": quantised(9)})


# A checkpoint whose tensors are not the module's own, whole and finite, restores nothing.


NORM = "model.norm.weight"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda weights: {f"_orig_mod.{name}": tensor for name, tensor in weights.items()}, "another model .22 tensors"),
        (lambda weights: {n: tensor for n, tensor in weights.items() if n != NORM}, "1 tensors, the first model.norm"),
        (lambda weights: weights | {NORM: torch.ones(3)}, "1 tensors, the first model.norm"),
        (lambda weights: weights | {NORM: torch.full((32,), float("nan"))}, "NaN or infinity .1 tensors, the first model.norm"),
    ],
)
def test_other_weights_are_refused_and_change_nothing(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], complaint: str
) -> None:
    module = tiny_policy().model
    before = {name: tensor.clone() for name, tensor in trained_state(module).items()}
    with pytest.raises(StoreError, match=complaint):
        load_weights(module, change(trained_state(tiny_policy(seed=1).model)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained_state(module).items())


def test_moments_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    module = nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    optimizer.state[module.weight]["exp_avg"].fill_(float("nan"))
    save_checkpoint(tmp_path, 1, {"policy": (module, optimizer)}, {})
    with pytest.raises(StoreError, match=r"NaN or infinity .*exp_avg"):
        load_latest(tmp_path, {"policy": (module, optimizer)})


# A training that commits at its own pace.


EVERY_STEP = Pace(0.0, math.inf)


def resumption(root: Path, pace: Pace = EVERY_STEP, identity: str = "mine", interrupted: bool = False) -> Resumption:
    found = Resumption(root, identity, lambda: interrupted, pace)
    found.begin({"policy": trained(0, 1)})
    return found


def committed(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob("*/step_*"))


def test_a_training_resumes_with_the_figures_of_the_steps_it_took(tmp_path: Path) -> None:
    first = resumption(tmp_path)
    for step in range(3):
        first.after([step / 3, 1.0], {"misses": step}, {"best": {"w": torch.full((2,), float(step))}})
    again = Resumption(tmp_path, "mine")
    assert again.begin({"policy": trained(9, 0)}) == [[0.0, 1.0], [1 / 3, 1.0], [2 / 3, 1.0]]
    assert again.state["misses"] == 2
    assert torch.equal(again.others("best")["w"], torch.full((2,), 2.0))
    assert committed(tmp_path) == ["step_000002", "step_000003"]


def test_commits_take_at_most_their_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def costly(*_: object) -> None:
        clock[0] += 3.0

    monkeypatch.setattr(checkpoints, "save_checkpoint", lambda root, step, *_: times.append((step, clock[0])) or costly())
    times: list[tuple[int, float]] = []
    training = resumption(tmp_path, Pace(seconds=5.0, share=0.02))
    for _ in range(400):
        clock[0] += 1.0
        training.after([0.0])
    # First after 5 s; it took 3 s, which are 2% of the 150 s until the next.
    assert [step for step, _ in times] == [5, 155, 305]


def test_an_interrupted_training_commits_the_step_at_hand(tmp_path: Path) -> None:
    training = resumption(tmp_path, Pace(seconds=1e9), interrupted=True)
    with pytest.raises(PausedError, match="interrupted after a checkpoint"):
        training.after([0.5])
    assert committed(tmp_path) == ["step_000001"]


def test_diverged_weights_are_not_committed(tmp_path: Path) -> None:
    training = resumption(tmp_path)
    training.after([0.5])
    training.after([math.nan])
    assert committed(tmp_path) == ["step_000001"]


def test_another_trainings_checkpoint_is_refused_here_too(tmp_path: Path) -> None:
    resumption(tmp_path).after([0.5])
    with pytest.raises(StoreError, match="of run 'mine', not of 'yours'"):
        resumption(tmp_path, identity="yours")


@pytest.mark.parametrize(("name", "counts"), [("processor", True), ("kernels", True), ("driver", False), ("gpu", False)])
def test_an_environment_is_the_class_of_machine_too(monkeypatch: pytest.MonkeyPatch, name: str, counts: bool) -> None:
    """On a CPU it is without the GPU that is not used."""
    cpu, here = torch.device("cpu"), checkpoints.machine_class(1)
    before = checkpoints.environment(cpu)
    monkeypatch.setattr(checkpoints, "machine_class", lambda threads: {**here, name: "another"})
    assert (checkpoints.environment(cpu) != before) == counts


def test_on_a_gpu_its_driver_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "H")
    here, found = checkpoints.machine_class(1), list[dict[str, str]]()
    for driver in ("570.1", "580.2"):
        monkeypatch.setattr(checkpoints, "machine_class", lambda threads, driver=driver: {**here, "driver": driver})
        found.append(checkpoints.environment(torch.device("cuda")))
    assert [(one["device"], one["driver"]) for one in found] == [("H", "570.1"), ("H", "580.2")]


def test_a_checkpoint_of_another_environment_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resumption(tmp_path).after([0.5])
    monkeypatch.setattr(checkpoints, "environment", lambda device: {"torch": "another"})
    assert resumption(tmp_path).figures == []


def test_parts_are_resumed_one_by_one_and_without_a_place_nothing_is_kept(tmp_path: Path) -> None:
    whole = Resumption(tmp_path, "mine", pace=EVERY_STEP)
    first = whole.part("0")
    first.begin({"policy": trained(0, 1)})
    first.after([0.5])
    assert whole.part("0").begin({"policy": trained(9, 0)}) == [[0.5]]
    assert whole.part("1").begin({"policy": trained(9, 0)}) == []
    nowhere = Resumption().part("0")
    nowhere.begin({"policy": trained(0, 1)})
    nowhere.after([0.5])
