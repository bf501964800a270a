"""Libraries that may be missing, and runs of theirs that leave nothing behind."""

import logging
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from ratchet.components.errors import DataError, ModelError, RecipeError
from ratchet.components.evaluation.benchmarks.extras import contained, library_version, require_library, share
from ratchet.components.recipe import Inspect, LmEval

GSM = LmEval(kind="lm_eval", task="gsm8k")
SUMS = Inspect(kind="inspect", task="sums.py@sums")


@pytest.mark.parametrize(("benchmark", "module", "extra"), [(GSM, "lm_eval", "lm-eval"), (SUMS, "inspect_ai", "inspect")])
def test_a_missing_library_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, benchmark: LmEval | Inspect, module: str, extra: str
) -> None:
    require_library("b", benchmark)
    assert library_version(benchmark)[0] == "0"
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(RecipeError, match=rf"benchmark b needs {module}, .* uv pip install -e '.\[{extra}\]'"):
        require_library("b", benchmark)


def test_a_score_is_a_number_between_0_and_1() -> None:
    assert [share("b", "it", value) for value in (True, 0, 0.25, np.float64(1), np.bool_(False))] == [1, 0, 0.25, 1, 0]


@pytest.mark.parametrize("value", ["C", None, (0.5, 3), 37.5, -0.1, float("nan"), np.array([1.0])])
def test_any_other_score_is_refused(value: object) -> None:
    with pytest.raises(DataError, match="no number between 0 and 1"):
        share("b", "it", value)


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
