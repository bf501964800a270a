"""The estimate of ``ratchet train --estimate`` beside what steps really take, over shapes and ways of training.

Usage: ``python -m benchmarks.memory [--json] [--device auto] [--shapes medium ...]``

Each case takes three steps in its own process. On CUDA the peak is what the allocator handed out, on a CPU the growth of the
resident set, which also holds what the allocator of C keeps back. The goal is 15%.
"""

import argparse
import json
import os
import sys
from typing import Any

from benchmarks.arms import SETTINGS, train_section
from benchmarks.shapes import SHAPES, Shape, configuration
from benchmarks.turns import MIB, Plan, compare, machine, pick_device
from ratchet.components.policy.configuration import shape_of
from ratchet.components.training.memory import Choice, Estimate, estimate_of

STEPS = 2
PROBLEM = 48  # tokens of a long word problem
ON_CPU = ("medium", "large_vocabulary_short")
ON_CUDA = ("qwen2.5_0.5b",)
CASES = {"ours": "GRPO", "ours_checkpointed": "GRPO, checkpointing", "ppo": "PPO"}


def expected(shape: Shape, arm: str, device: str) -> Estimate:
    """The estimate of the arm's recipe."""
    train = train_section(shape, **SETTINGS[arm])
    choice = Choice(train.tokens_at_once, bool(train.gradient_checkpointing), bool(train.offload))
    given = {
        "prompt_tokens": shape.prompt_tokens or PROBLEM,
        "new_tokens": shape.new_tokens,
        "low": device == "cuda",
        "cuda": device == "cuda",
    }
    return estimate_of(train, shape_of(configuration(shape)), choice, **given)


def measure(shape: Shape, arm: str, device: str, threads: int) -> dict[str, Any]:
    """One case."""
    plan = Plan(shape, device, threads, STEPS)
    found = compare(plan, [arm])[arm]
    estimate = expected(shape, arm, device)
    return {
        "shape": shape.name,
        "device": device,
        "case": CASES[arm],
        "estimate_mib": estimate.peak / MIB,
        "measured_mib": found.peak_mib,
        "ratio": estimate.peak / MIB / found.peak_mib,
        "parts_mib": {f"{p.phase}: {p.name}": p.bytes / MIB for p in estimate.parts},
    }


def markdown(rows: list[dict[str, Any]], where: dict[str, Any]) -> str:
    """A table under a line that says where and when."""
    head = [
        ", ".join(f"{name} {value}" for name, value in where.items()),
        "",
        "| shape | device | training | estimate, MiB | measured, MiB | estimate / measured |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join(head + [_line(r) for r in rows])


def _line(r: dict[str, Any]) -> str:
    figures = f"{r['estimate_mib']:,.0f} | {r['measured_mib']:,.0f} | {r['ratio']:.2f}"
    return f"| {r['shape']} | {r['device']} | {r['case']} | {figures} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES))
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    device, rows = pick_device(given.device), []
    for name in given.shapes or (ON_CUDA if device == "cuda" else ON_CPU):
        for arm in given.cases:
            rows.append(measure(SHAPES[name], arm, device, given.threads))
            print(_line(rows[-1]), file=sys.stderr, flush=True)
    where = machine(device, given.threads)
    print(json.dumps({"rows": rows, "machine": where}, indent=2) if given.json else markdown(rows, where))


if __name__ == "__main__":
    main()
