"""The digests that identify everything: of values, files and sets of files."""

import hashlib
import os
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from ratchet.components.storage.json_text import json_text

SETTLED = 1_000_000_000  # nanoseconds without a change, after which a file's times tell the next one


def digest_of(value: object) -> str:
    """sha256 of the canonical JSON of a value."""
    return hashlib.sha256(json_text(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def kept_digest(path: Path) -> str:
    """sha256 of a file's bytes, which this process hashes again only if the file's size, times or inode changed."""
    found = path.stat()
    if time.time_ns() - found.st_ctime_ns < SETTLED:  # clocks of file systems are coarse: another edit may have the same times
        return file_digest(path)
    return _kept(os.path.abspath(path), (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino))


@lru_cache(maxsize=4096)
def _kept(path: str, stamp: tuple[int, ...]) -> str:
    return file_digest(Path(path))


def digest_of_digests(digests: Mapping[str, str]) -> str:
    """One sha256 for a set of files: of ``path sha256`` lines in path order."""
    lines = "".join(f"{path} {digest}\n" for path, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def weights_digest(files: Mapping[str, str]) -> str:
    """sha256 of a model's weights: of its one safetensors file, or of the list of its shards' digests.

    Args:
        files: relative path -> sha256, as in a stage's manifest.
    """
    weights = {k: v for k, v in files.items() if k.startswith("model/") and k.endswith(".safetensors")}
    assert weights, "no weights in model/"
    return next(iter(weights.values())) if len(weights) == 1 else digest_of_digests(weights)
