"""The ten checks of a server: a sound one passes them, and each fails by a fault of its own."""

import re
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.policy.adapters import add_lora
from ratchet.components.policy.engines.vllm import weights
from ratchet.components.policy.engines.vllm.contract import Check, Contract
from tests.policy.engines.vllm.engines import engine_on
from tests.policy.engines.vllm.fake_server import FakeVllm, serving
from tests.tiny_models import same, tiny_policy
from tests.tiny_models import weights as copied


def checked(fake: FakeVllm, folder: Path, lora: bool = False, **given: Any) -> list[Check]:
    policy = tiny_policy()
    adapter = add_lora(policy, 4, 8, 0) if lora else None
    before = copied(policy.model)
    with engine_on(fake.url, folder, adapter, **given) as engine:
        checks = list(Contract(engine, policy, max_new_tokens=24).checks())
    assert same(before, copied(policy.model))
    return checks


def failed(checks: list[Check]) -> list[int]:
    return [check.number for check in checks if not check.ok]


@pytest.mark.parametrize("lora", [False, True])
def test_a_sound_server_passes_all_ten_and_keeps_the_policy(lora: bool, tmp_path: Path) -> None:
    with serving(policy=tiny_policy() if lora else None) as fake:
        checks = checked(fake, tmp_path, lora)
        assert [(check.number, check.ok) for check in checks] == [(number, True) for number in range(1, 11)]
        assert all(check.figure for check in checks)
        assert not lora or len(fake.adapters) == 1
        assert same(copied(tiny_policy().model), copied(fake.model))


# Of each check a fault by which it fails, and what it then says.
FAULTS: dict[int, tuple[str, dict[str, Any], str]] = {
    1: ("", {"version": "0.35.0"}, "0.35.0"),
    2: ("another_prompt", {}, "another prompt"),
    3: ("two_choices", {}, "no usable choices"),
    4: ("raw", {}, "processed_logprobs"),
    5: ("no_ends", {}, "did not end|continues after"),
    6: ("stale", {}, "still computes with the old weights"),
    7: ("no_seeds", {}, "seeds are not followed"),
    9: ("unhealthy", {}, "answered 503"),
    10: ("", {"context": 25}, "exceed the server's context of 25"),
}


@pytest.mark.parametrize("number", FAULTS)
def test_each_check_fails_by_its_own_fault(number: int, tmp_path: Path) -> None:
    fault, options, said = FAULTS[number]
    with serving(*filter(None, [fault]), policy=tiny_policy(), **options) as fake:
        check = checked(fake, tmp_path)[number - 1]
    assert (check.number, check.ok) == (number, False)
    assert re.search(said, check.figure)


def test_a_head_that_is_not_updated_fails_the_sixth_though_the_rest_is(tmp_path: Path) -> None:
    with serving("stale_head", policy=tiny_policy()) as fake:
        check = checked(fake, tmp_path)[5]
    assert not check.ok
    assert check.figure.startswith("head changed: after an update the server still computes with the old weights")
    assert "tied to the embeddings" in check.figure


def test_weights_that_are_not_whole_fail_the_eighth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_size", lambda part: 1)
    with serving() as fake:
        checks = checked(fake, tmp_path)
    assert 8 in failed(checks)
    assert "cannot be given to vLLM whole" in checks[7].figure


def test_a_server_that_is_gone_fails_one_check_and_the_others_are_not_made(tmp_path: Path) -> None:
    with serving() as fake:
        pass
    (check,) = checked(fake, tmp_path)
    assert (check.number, check.ok) == (1, False)
    assert check.figure.endswith("The checks after it, to 10, were not made.")


def test_a_fault_elsewhere_leaves_the_other_checks_alone(tmp_path: Path) -> None:
    with serving("no_seeds", policy=tiny_policy()) as fake:
        assert failed(checked(fake, tmp_path)) == [7]
