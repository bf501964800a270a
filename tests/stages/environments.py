"""Where stages made by hand say that they were made."""

from typing import Any

from ratchet.components.stages.environment import Environment

MACHINE: dict[str, Any] = {
    "system": "Linux", "architecture": "x86_64", "processor": "P", "kernels": "AVX2", "threads": 1, "gpu": None,
}  # fmt: skip


def environment(machine: dict[str, Any] | None = None, code: dict[str, Any] | None = None, **changes: Any) -> Environment:
    """A place with a checkout; ``changes`` replace whole fields, the others parts of theirs."""
    values: dict[str, Any] = {
        "machine": {**MACHINE, **(machine or {})},
        "libraries": {"python": "3.11.7", "torch": "2.10.0"},
        "lock_sha256": "3" * 64,
        "off_lock": {},
        "code": {
            "commit": "c" * 40, "folder": "", "changed": [], "diff_sha256": None, "sources_sha256": "2" * 64, **(code or {})
        },
    }  # fmt: skip
    return Environment.model_validate({**values, **changes})
