"""The ten checks of a real vLLM server on this machine, whose model is a local folder: started by hand as docs/vllm.md shows.

``RATCHET_TEST_VLLM`` is the URL of one for full weights, ``RATCHET_TEST_VLLM_LORA`` of one that loads adapters.
"""

import os
from pathlib import Path

import pytest
import torch

from ratchet.components.policy.adapters import add_lora
from ratchet.components.policy.engines.vllm.contract import Contract
from ratchet.components.policy.engines.vllm.server import Server
from ratchet.components.policy.loading import load_policy
from tests.policy.engines.vllm.engines import engine_on, settings_of

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("variable", "lora"), [("RATCHET_TEST_VLLM", False), ("RATCHET_TEST_VLLM_LORA", True)])
def test_a_real_server_passes_all_ten(variable: str, lora: bool, tmp_path: Path) -> None:
    url = os.environ.get(variable)
    if not url:
        pytest.skip(f"{variable} names no server")
    with Server(settings_of(url, tmp_path)) as server:
        policy = load_policy(server.model().name, torch.device("cpu"))
    adapter = add_lora(policy, 4, 8, 0) if lora else None
    with engine_on(url, tmp_path, adapter, seconds=120.0) as engine:
        assert [check for check in Contract(engine, policy, max_new_tokens=24).checks() if not check.ok] == []
