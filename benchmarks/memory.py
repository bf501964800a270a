"""The estimate of ``ratchet train --estimate`` beside what steps really take, over shapes and ways of training.

Usage: ``python -m benchmarks.memory [--json] [--device auto] [--shapes medium ...]``

Each case takes three steps in its own process. On CUDA the peak is what the allocator handed out, on a CPU the growth of the
resident set, which also holds what the allocator of C keeps back. The goal is 15%.
"""

import sys
from typing import Any

from benchmarks.arms import SETTINGS, train_section
from benchmarks.report import MIB, arguments, machine, pick_device, show
from benchmarks.shapes import SHAPES, Shape, configuration
from benchmarks.turns import Plan, compare
from ratchet.components.policy.configuration import shape_of
from ratchet.components.training.memory import Choice, Estimate, estimate_of

STEPS = 2
PROBLEM = 48  # tokens of a long word problem
ON_CPU = ("medium", "large_vocabulary_short")
ON_CUDA = ("qwen2.5_0.5b",)
COLUMNS = ("shape", "device", "training", "estimate, MiB", "measured, MiB", "estimate / measured")
CASES = {"ours": "GRPO", "ours_checkpointed": "GRPO, checkpointing", "ppo": "PPO"}


def expected(shape: Shape, arm: str, device: str) -> Estimate:
    """The estimate of the arm's recipe."""
    train = train_section(shape, **SETTINGS[arm])
    choice = Choice(train.tokens_at_once, bool(train.gradient_checkpointing), bool(train.offload))
    given = {
        "prompt_tokens": shape.prompt_tokens or PROBLEM,
        "new_tokens": shape.new_tokens,
        "low": device == "cuda" or train.precision == "bf16",
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


def _line(r: dict[str, Any]) -> str:
    figures = f"{r['estimate_mib']:,.0f} | {r['measured_mib']:,.0f} | {r['ratio']:.2f}"
    return f"| {r['shape']} | {r['device']} | {r['case']} | {figures} |"


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES))
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    given = parser.parse_args()
    device, rows = pick_device(given.device), []
    for name in given.shapes or (ON_CUDA if device == "cuda" else ON_CPU):
        for arm in given.cases:
            rows.append(measure(SHAPES[name], arm, device, given.threads))
            print(_line(rows[-1]), file=sys.stderr, flush=True)
    show(rows, machine(device, given.threads), COLUMNS, _line, given.json)


if __name__ == "__main__":
    main()
