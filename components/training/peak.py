"""The peak memory of what follows: the CUDA allocator's, or this process's own."""

import resource
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # proc(5): sets the peak of the resident set to what it is now


def reset_peak(device: torch.device) -> int:
    """Forget the peak so far; returns the bytes in use now. Where the system keeps no such count, the old peak stays."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return int(torch.cuda.memory_allocated(device))
    if not CLEAR.exists():
        return peak_bytes(device)
    CLEAR.write_text(RESET_PEAK)
    return _status("VmRSS")


def peak_bytes(device: torch.device) -> int:
    """Bytes: most that the CUDA allocator had handed out, or the largest resident set of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    # Not ru_maxrss where it can be helped: a process begins with the peak of the one that started it.
    return _status("VmHWM") if STATUS.exists() else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _status(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
