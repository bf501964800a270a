"""Sources to read: small JSONL files written by a test, and real GSM8K where it is at hand."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.recipe import Data, JsonLines


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., Data]:
    """Write rows (mappings, or raw bytes) as ``source.jsonl`` and return the data section that reads it."""

    def make(*rows: Mapping[str, Any] | bytes, end: bytes = b"\n", **options: Any) -> Data:
        lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
        (tmp_path / "source.jsonl").write_bytes(b"".join(line + end for line in lines))
        return Data(source=JsonLines(kind="jsonl", path=str(tmp_path / "source.jsonl"), **options))

    return make
