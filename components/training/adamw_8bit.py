"""torchao's AdamW, whose moments take 8 bits: values of a block share a scale (Dettmers et al. 2022, arXiv:2110.02861)."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torchao.optim import AdamW8bit as Compiled


class AdamW8bit(Compiled):  # type: ignore[misc]
    """Its step is compiled on CUDA alone: on a CPU that needs a C++ compiler, and takes longer than many trainings here."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        on_cuda = self.param_groups[0]["params"][0].is_cuda
        with nullcontext() if on_cuda else torch.compiler.set_stance("force_eager"):
            return super().step(closure)
