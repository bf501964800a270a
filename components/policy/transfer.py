"""Copies from host to device for which nothing waits."""

import torch
from torch import Tensor


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device.

    CUDA would first finish all that it was given if the memory were not pinned, so that nothing is queued while it computes.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
