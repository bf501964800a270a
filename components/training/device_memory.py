"""Device memory: its size and its peak use."""

import os
import platform
import resource
from dataclasses import dataclass
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
RESET_PEAK = "5"  # proc(5): resets the peak of the resident set
GIB = 2**30


@dataclass(frozen=True)
class Watch:
    """The memory of a training run from here on."""

    device: torch.device
    baseline: int  # bytes in use before it
    expected: int  # estimated bytes

    def figures(self) -> dict[str, float]:
        """``memory/estimate_gib``, and ``memory/peak_gib`` so far."""
        peak = peak_bytes(self.device) - self.baseline
        return {"memory/estimate_gib": self.expected / GIB, "memory/peak_gib": peak / GIB}


def device_bytes(device: torch.device) -> int:
    """Memory of the GPU, or of the machine or container."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    limit = CONTAINER_LIMIT.read_text().strip() if CONTAINER_LIMIT.exists() else "max"
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return physical if limit == "max" else min(physical, int(limit))


def reset_peak(device: torch.device) -> int:
    """Reset the peak; returns the bytes in use now. If the system does not support that, the old peak stays."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return int(torch.cuda.memory_allocated(device))
    if not CLEAR.exists():
        return peak_bytes(device)
    CLEAR.write_text(RESET_PEAK)
    return _status("VmRSS")


def peak_bytes(device: torch.device) -> int:
    """Bytes: the most that the CUDA allocator handed out, or the largest resident set of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if STATUS.exists():  # not ru_maxrss if avoidable: a process starts with its parent's peak
        return _status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


def _status(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
