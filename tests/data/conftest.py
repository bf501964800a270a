"""Sources to read: small JSONL files written by a test, and real GSM8K where it is at hand."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from components.recipe import Data, JsonLines

GSM8K = Path(__file__).parents[3] / "shared" / "data" / "gsm8k"


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., Data]:
    """Write rows (mappings, or raw bytes) as ``source.jsonl`` and return the data section that reads it."""

    def make(*rows: Mapping[str, Any] | bytes, end: bytes = b"\n", **options: Any) -> Data:
        lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
        (tmp_path / "source.jsonl").write_bytes(b"".join(line + end for line in lines))
        return Data(source=JsonLines(kind="jsonl", path=str(tmp_path / "source.jsonl"), **options))

    return make


@pytest.fixture(scope="session")
def gsm8k() -> Path:
    """The folder of real GSM8K files."""
    folder = Path(os.environ.get("RATCHET_TEST_DATA", GSM8K))
    if not (folder / "test.jsonl").is_file():
        pytest.skip(f"no real GSM8K in {folder}; set RATCHET_TEST_DATA to the folder that holds test.jsonl")
    return folder
