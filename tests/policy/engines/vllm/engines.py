"""Engines on a fake server."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ratchet.components.policy.adapters import Adapter
from ratchet.components.policy.engines.engine import SamplingSeed
from ratchet.components.policy.engines.vllm.engine import VllmEngine, opened
from ratchet.components.recipe import Vllm

PROMPTS = [[5, 6, 7], [8, 9], [10, 11, 12, 13], [14]]
SEED = SamplingSeed(7, "test", 2)


def settings_of(url: str, folder: Path, **given: Any) -> Vllm:
    return Vllm.model_validate({"url": url, "folder": str(folder), "seconds": 20.0, "parallel": 8, **given})


@contextmanager
def engine_on(url: str, folder: Path, adapter: Adapter | None = None, **given: Any) -> Iterator[VllmEngine]:
    with opened(settings_of(url, folder, **given), adapter, PROMPTS, "run") as engine:
        yield engine
