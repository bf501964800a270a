"""The machine and the libraries that made a version. The same class of machine gives the same bits."""

import platform
import re
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "scipy",
    "polars",
    "pandera",
    "peft",
    "dvc",
    "mlflow",
    "prefect",
)


def machine_class(threads: int) -> dict[str, Any]:
    """The class of this machine: what determines the order of floating-point sums.

    Args:
        threads: the recipe's CPU threads; 0 stands for torch's choice.
    """
    import torch

    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": processor(),
        "kernels": str(torch.backends.cpu.get_cpu_capability()),
        "threads": threads or torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "driver": driver() if torch.cuda.is_available() else None,
    }


@cache
def driver() -> str | None:
    """The release of NVIDIA's driver, as its kernel module names it."""
    try:
        found = re.search(r"Module\s.*?(\d+(?:\.\d+)+)", Path("/proc/driver/nvidia/version").read_text(encoding="utf-8"))
    except OSError:
        return None
    return found[1] if found else None


@cache
def processor() -> str:
    """The CPU's model, as the system names it."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or "unknown"


def installed_libraries() -> dict[str, str]:
    """Versions of Python and of the libraries that determine the result; those not installed are left out."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if "torch" in sys.modules and sys.modules["torch"].version.cuda is not None:
        found["cuda"] = str(sys.modules["torch"].version.cuda)
    return found
