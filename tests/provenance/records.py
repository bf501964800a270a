"""A whole lineage record with made-up digests."""

from typing import Any

from ratchet.components.provenance.lineage import Lineage

ONE, TWO, THREE = "1" * 64, "2" * 64, "3" * 64


def lineage(**changes: Any) -> Lineage:
    """A record of a clean, warmed-up candidate; ``changes`` replace whole fields."""
    values: dict[str, Any] = {
        "model": "m",
        "weights_sha256": ONE,
        "code": {"commit": "c" * 40, "folder": "", "changed": [], "diff_sha256": None, "sources_sha256": TWO},
        "recipe": {"name": "m", "seed": 3},
        "recipe_digest": TWO,
        "seed": 3,
        "dataset": {"md5": "d" * 32 + ".dir", "pointer": "outs: []\n"},
        "lock_sha256": THREE,
        "off_lock": {},
        "machine": {
            "system": "Linux", "architecture": "x86_64", "processor": "P", "kernels": "AVX2", "threads": 1, "gpu": None,
        },
        "libraries": {"python": "3.11.7", "torch": "2.10.0"},
        "files": {},
        "policy": {"kind": "warmup", "version": None, "weights_sha256": TWO},
        "reward": {"kind": "mix", "stage_sha256": THREE, "weights_sha256": None},
        "stages": [
            {"name": "data", "key": "a" * 32, "files": {"data/train.jsonl": ONE}},
            {"name": "warmup", "key": "b" * 32, "files": {"model/model.safetensors": TWO}},
            {"name": "reward", "key": "c" * 32, "files": {"report.json": THREE}},
            {"name": "train", "key": "d" * 32, "files": {"model/model.safetensors": ONE, "metrics.jsonl": TWO}},
        ],
        "metrics": {"eval_sampled_accuracy": 0.6},
        "exact": True,
    }  # fmt: skip
    return Lineage.model_validate({**values, **changes})
