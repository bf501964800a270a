"""User functions in a project of their own, under small limits."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.graders.outside import reward_worker
from ratchet.components.graders.worker.function import Worker
from ratchet.components.recipe import Reward

SMALL = {"seconds": 20.0, "memory_mb": 256, "processes": 20, "output_kb": 64, "file_mb": 1}

Make = Callable[..., Worker]


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes the worker of a source's function ``f``; all are ended after the test."""
    monkeypatch.chdir(tmp_path)
    with ExitStack() as made:

        def make(source: str, target: str = "mine:f", environment: tuple[str, ...] = (), **limits: Any) -> Worker:
            (tmp_path / "mine.py").write_text(source, encoding="utf-8")
            settings = Reward.model_validate({"limits": {**SMALL, **limits}, "environment": list(environment)})
            return made.enter_context(closing(reward_worker(target, settings)))

        yield make
