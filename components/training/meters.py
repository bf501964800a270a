"""Figures of a training step, each a mean with its own denominator, and where the time went."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from ratchet.components.launch.ranks import Ranks


class Means:
    """Sums and counts by name. Sums stay on their device until they are read."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, float] = {}

    def add(self, name: str, total: Tensor | float, count: float) -> None:
        """Add a sum over ``count`` things; no wait for the device."""
        value = torch.as_tensor(total).detach().sum().double()
        self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._counts[name] = self._counts.get(name, 0.0) + count

    def count(self, counts: Mapping[str, float]) -> None:
        """Add to the denominators alone."""
        for name, number in counts.items():
            self.add(name, 0.0, number)

    def update(self, other: "Means") -> None:
        """Add another's sums and counts."""
        for name, total in other._sums.items():
            self.add(name, total, other._counts[name])

    def add_up(self, ranks: Ranks) -> None:
        """Replace each sum by that over the ranks; the counts are of all ranks already."""
        if ranks.size == 1:
            return
        own = json.dumps({name: float(total) for name, total in self._sums.items()}).encode()
        parts = [json.loads(part) for part in ranks.exchange(own)]
        for name in {name: None for part in parts for name in part}:  # in their order, each once
            self._sums[name] = torch.tensor(sum(part.get(name, 0.0) for part in parts), dtype=torch.double)
            self._counts.setdefault(name, 0.0)

    def values(self) -> dict[str, float]:
        """The means; a name that counted nothing is left out."""
        counted = {name: total for name, total in self._sums.items() if self._counts[name] > 0}
        if not counted:
            return {}
        device = max((total.device for total in counted.values()), key=lambda d: d.type != "cpu")
        sums = torch.stack([total.to(device) for total in counted.values()]).tolist()  # one wait for the device
        return {name: total / self._counts[name] for name, total in zip(counted, sums, strict=True)}


PhaseLimit = Callable[[str], AbstractContextManager[None]]


def unlimited(phase: str) -> AbstractContextManager[None]:
    """No limit on the time of a phase."""
    return nullcontext()


class Phases:
    """Wall-clock seconds by phase of a step."""

    def __init__(self, limit: PhaseLimit = unlimited) -> None:
        """
        Args:
            limit: what ends a phase that hangs, by the phase's name.
        """
        self._limit = limit
        self._started = time.monotonic()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count the block towards a phase."""
        started = time.monotonic()
        with self._limit(name):
            yield
        self._seconds[name] = self._seconds.get(name, 0.0) + time.monotonic() - started

    def values(self, tokens: int) -> dict[str, float]:
        """``step_time``, ``time/<phase>`` and completion tokens per second."""
        whole = time.monotonic() - self._started
        phases = {f"time/{name}": seconds for name, seconds in self._seconds.items()}
        return {"step_time": whole, "tokens_per_second": tokens / whole, **phases}
