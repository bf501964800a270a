"""What PPO costs beside GRPO: seconds and memory of a step over model sizes, the same prompts and samples, in turns.

Usage: ``python -m benchmarks.ppo_price [--json] [--device auto] [--shapes ...] [--steps 5]``

PPO has a critic of its own (a second trunk, its gradients and moments, a scoring pass and an update) that learns from the first
step; both are without a KL term. Sizes: the quickstart's policy, width 256, width 512, and on CUDA Qwen2.5-0.5B's shape.
"""

import sys
from typing import Any

from benchmarks.report import arguments, machine, pick_device, show
from benchmarks.shapes import SHAPES, configuration
from benchmarks.turns import Arm, Plan, compare
from ratchet.components.policy.configuration import shape_of

ON_CPU = ("quickstart", "long_prompts", "medium")
ON_CUDA = (*ON_CPU, "qwen2.5_0.5b")
COLUMNS = (
    *("shape", "parameters", "device", "GRPO, s", "PPO, s", "PPO / GRPO"),
    *("GRPO, MiB", "PPO, MiB", "PPO / GRPO"),
)


def row(plan: Plan, arms: dict[str, Arm]) -> dict[str, Any]:
    """One size as figures."""
    grpo, ppo = arms["ours"], arms["ppo"]
    return {
        "shape": plan.shape.name,
        "device": plan.device,
        "parameters": shape_of(configuration(plan.shape)).parameters,
        "grpo": grpo.median,
        "ppo": ppo.median,
        "ratio": ppo.median / grpo.median,
        "grpo_peak_mib": grpo.peak_mib,
        "ppo_peak_mib": ppo.peak_mib,
        "memory_ratio": ppo.peak_mib / grpo.peak_mib,
        "steps": plan.steps,
    }


def _line(r: dict[str, Any]) -> str:
    times = f"{r['grpo']:.3f} | {r['ppo']:.3f} | {r['ratio']:.2f}"
    memory = f"{r['grpo_peak_mib']:,.0f} | {r['ppo_peak_mib']:,.0f} | {r['memory_ratio']:.2f}"
    return f"| {r['shape']} | {r['parameters'] / 1e6:,.1f} M | {r['device']} | {times} | {memory} |"


def main() -> None:
    """Compare and print."""
    parser = arguments(__doc__)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES))
    parser.add_argument("--steps", type=int, default=5, help="counted steps of each")
    given = parser.parse_args()
    device, rows = pick_device(given.device), []
    for name in given.shapes or (ON_CUDA if device == "cuda" else ON_CPU):
        plan = Plan(SHAPES[name], device, given.threads, given.steps)
        rows.append(row(plan, compare(plan, ("ours", "ppo"))))
        print(_line(rows[-1]), file=sys.stderr, flush=True)
    show(rows, machine(device, given.threads), COLUMNS, _line, given.json)


if __name__ == "__main__":
    main()
