"""The comparison with TRL: what its figures are, ends at random, and both sides in turns."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.report import markdown
from benchmarks.shapes import SHAPES, build
from benchmarks.turns import Arm, Plan
from benchmarks.vs_trl import COLUMNS, _line, row


def test_a_row_divides_medians_and_peaks() -> None:
    ours = Arm(9.0, [1.0, 2.0, 6.0], peak=100 * 2**20, figures=[{"time/rollout": 1.0}, {"time/rollout": 3.0, "loss": 0.0}])
    trl = Arm(1.0, [4.0, 5.0, 8.0], peak=400 * 2**20)
    found = row(Plan(SHAPES["smoke"], "cpu", 2, 3), "ours", {"ours": ours, "ours_bf16": trl, "trl": trl})
    assert (found["ours"], found["trl"], found["ratio"]) == (2.0, 5.0, 2.5)
    assert (found["memory_ratio"], found["slowest_over_median"]) == (0.25, 3.0)
    assert found["ours_phases"] == {"time/rollout": 2.0}
    assert markdown({"device": "X"}, COLUMNS, [_line(found)]).endswith(
        "| smoke | cpu, fp32 | 3 | 2.000 | 5.000 | 2.50 | 100 | 400 | 0.25 | 3.00 (1.60) |"
    )


def test_ends_come_at_random_with_the_stated_chance(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    build(SHAPES["smoke_random_ends"], tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokens = torch.randint(2, 300, (64, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        chances = model(tokens).logits.softmax(-1)[..., 1]
    assert float(chances.mean()) == pytest.approx(1 / 8, rel=0.2)
    assert float(chances.min()) > 1 / 40


@pytest.mark.slow
def test_both_sides_step_in_turns() -> None:
    command = [sys.executable, "-m", "benchmarks.vs_trl", "--json", "--device", "cpu", "--shapes", "smoke", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    found, in_bf16 = json.loads(done.stdout)["rows"]
    assert (found["precision"], in_bf16["precision"]) == ("fp32", "bf16")
    assert found["seconds"]["ours"] != in_bf16["seconds"]["ours"]
    assert [len(found["seconds"][arm]) for arm in ("ours", "trl")] == [2, 2]
    assert found["ours_phases"]["time/rollout"] > 0
    assert 0 < found["ours_peak_mib"] < 1000
    assert 0 < found["trl_peak_mib"] < 1000
