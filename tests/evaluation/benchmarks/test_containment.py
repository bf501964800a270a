"""Runs of an evaluation library leave nothing behind, and its errors are of the benchmark."""

import logging
import os
import sys
from pathlib import Path

import pytest

from ratchet.components.errors import DataError, ModelError
from ratchet.components.evaluation.benchmarks.containment import contained
from ratchet.components.recipe import LmEval

GSM = LmEval(kind="lm_eval", task="gsm8k")


def test_what_a_library_changes_is_put_back() -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers), sys.excepthook, sys.dont_write_bytecode, dict(os.environ))
    with contained("b", GSM) as folder:
        (folder / "log").write_text("x")
        assert Path(os.environ["INSPECT_TRACE_FILE"]).parent == folder  # inspect_ai deletes it at exit: never a device
        root.setLevel(1)
        root.addHandler(logging.NullHandler())
        sys.excepthook = print  # type: ignore[assignment]
        assert sys.dont_write_bytecode
    assert before == (root.level, list(root.handlers), sys.excepthook, sys.dont_write_bytecode, dict(os.environ))
    assert not folder.exists()


def test_what_a_library_prints_does_not_mix_with_our_output(capsys: pytest.CaptureFixture[str]) -> None:
    with contained("b", GSM):
        print("a table")
        print("a bar", file=sys.stderr)
    assert tuple(capsys.readouterr()) == ("", "")


def test_a_librarys_error_becomes_one_line_and_ours_stays() -> None:
    with pytest.raises(DataError, match=r"benchmark b: lm_eval cannot run gsm8k: no\. Correct"), contained("b", GSM):
        raise ValueError("no\nmore")
    with pytest.raises(ModelError, match="ours"), contained("b", GSM):
        raise ModelError("ours")


def test_a_task_that_would_end_the_run_is_an_error_of_the_benchmark() -> None:
    ends = pytest.raises(DataError, match=r"benchmark b: gsm8k raised SystemExit\(0\).*evaluation\.benchmarks\.b")
    with ends, contained("b", GSM):
        raise SystemExit(0)
