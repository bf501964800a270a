"""A GRPO step of this product beside one of TRL: same model, prompts, reward, batch, device and threads, in turns.

Usage: ``python -m benchmarks.vs_trl [--json | --markdown] [--device auto] [--shapes quickstart long_prompts] [--steps 20]``

Each side runs in a process of its own and takes a step when it is its turn, so that a busy moment of the machine meets both,
and so that peak memory is each side's own: on CUDA the most that the allocator handed out; on a CPU the largest resident set,
less what the process held with its libraries loaded. ``ours`` and ``trl`` are median seconds of a step, the first left out;
``ratio`` is TRL's time over ours, ``memory_ratio`` our memory over TRL's, ``slowest_over_median`` of our steps. On a CPU our
side steps in fp32, which is the default there, and in bf16; TRL's in fp32.
benchmarks/shapes.py has the shapes, benchmarks/trl.py TRL's settings. Needs the extra ``bench``; 9 minutes on two CPU cores.
On a GPU a shape of Qwen's size takes two to three minutes at six steps: loading, compiling, a first step of 20 s, then 11 s per
turn; ``--shapes qwen2.5_0.5b --steps 2`` is a quick look.
"""

import sys
from typing import Any

from benchmarks.arms import SETTINGS
from benchmarks.memory import expected
from benchmarks.report import MIB, arguments, machine, pick_device, show
from benchmarks.shapes import SHAPES
from benchmarks.turns import Arm, Plan, compare

ON_CPU = ("quickstart", "long_prompts", "large_vocabulary")
ON_CUDA = (*ON_CPU, "qwen2.5_0.5b", "qwen2.5_0.5b_random_ends")
COLUMNS = (
    *("shape", "device", "steps", "ours, s", "TRL, s", "times", "ours, MiB", "TRL, MiB", "memory"),
    "slowest / median (TRL)",
)


def row(plan: Plan, name: str, arms: dict[str, Arm]) -> dict[str, Any]:
    """An arm of ours beside TRL's, as figures."""
    ours, trl = arms[name], arms["trl"]
    return {
        "shape": plan.shape.name,
        "device": plan.device,
        "precision": "bf16" if plan.device == "cuda" else SETTINGS[name].get("precision", "fp32"),
        "ours": ours.median,
        "trl": trl.median,
        "ratio": trl.median / ours.median,
        "ours_peak_mib": ours.peak_mib,
        "trl_peak_mib": trl.peak_mib,
        "memory_ratio": ours.peak_mib / trl.peak_mib,
        "slowest_over_median": ours.slowest_over_median,
        "trl_slowest_over_median": trl.slowest_over_median,
        "steps": plan.steps,
        "deterministic": SETTINGS[name].get("deterministic", True),
        "order": "sequential" if plan.sequential else "interleaved",
        "first_step": {"ours": ours.first, "trl": trl.first},
        "ours_estimate_mib": expected(plan.shape, name, plan.device).peak / MIB,
        "baseline_mib": {"ours": ours.baseline / MIB, "trl": trl.baseline / MIB},
        "seconds": {"ours": ours.seconds, "trl": trl.seconds},
        "ours_phases": ours.phases(),
        "settings": plan.shape.to_json(),
    }


def _line(r: dict[str, Any]) -> str:
    times = f"{r['ours']:.3f} | {r['trl']:.3f} | {r['ratio']:.2f}"
    memory = f"{r['ours_peak_mib']:,.0f} | {r['trl_peak_mib']:,.0f} | {r['memory_ratio']:.2f}"
    slowest = f"{r['slowest_over_median']:.2f} ({r['trl_slowest_over_median']:.2f})"
    return f"| {r['shape']} | {r['device']}, {r['precision']} | {r['steps']} | {times} | {memory} | {slowest} |"


def main() -> None:
    """Compare and print."""
    parser = arguments(__doc__)
    parser.add_argument("--markdown", action="store_true", help="print the table alone")
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), help="default: all that the device is meant for")
    parser.add_argument("--steps", type=int, help="counted steps of each side; default: the shape's")
    parser.add_argument("--sequential", action="store_true", help="one side after the other: where both do not fit into memory")
    parser.add_argument("--any-order", action="store_true", help="ours with train.deterministic=false, on CUDA")
    given = parser.parse_args()
    device = pick_device(given.device)
    rows = []
    for name in given.shapes or (ON_CUDA if device == "cuda" else ON_CPU):
        plan = Plan(SHAPES[name], device, given.threads, given.steps or SHAPES[name].steps, given.sequential)
        own = ("ours", "ours_bf16") if device == "cpu" else ("ours_any_order",) if given.any_order else ("ours",)
        arms = compare(plan, (*own, "trl"))
        for arm in own:
            rows.append(row(plan, arm, arms))
            print(_line(rows[-1]), file=sys.stderr, flush=True)
    show(rows, machine(device, given.threads), COLUMNS, _line, given.json)


if __name__ == "__main__":
    main()
