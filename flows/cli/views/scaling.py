"""What ``ratchet train --estimate --workers`` says of ranks."""

from rich.table import Table

from ratchet.components.training.memory import GIB
from ratchet.components.training.scaling.plan import Limits, ScalingPlan, engine_advice, limits_of
from ratchet.flows.cli.views.terminal import make_console

SENT = {
    "rollouts": "rollouts, as tokens",
    "gradients": "gradients",
    "weights": "weights for passes",
    "sampler": "sampler's weights",
}


def print_scaling(plan: ScalingPlan) -> None:
    """Mode and memory, seconds by phase, bytes, and where more ranks stop being of use."""
    cluster, subject = plan.cluster, plan.subject
    console = make_console()
    gpu = f"{cluster.gpu.name.upper()} with {subject.memory / GIB:.1f} GiB"
    console.print(
        f"\n{count(cluster.workers, 'rank')} on {count(cluster.nodes, 'node')}, each an {gpu}: computed, not measured"
    )
    fits = "" if plan.memory.plan.fits else " (does not fit)"
    console.print(f"{plan.memory.mode}{fits}: {plan.memory.why}")
    console.print(", ".join(f"train.{name}={str(value).lower()}" for name, value in plan.memory.plan.choice._asdict().items()))
    console.print(f"at most {plan.work.train.prompts} x {plan.work.train.group_size} completions per rank")
    console.print(figures(plan))
    console.print(
        f"{plan.efficiency:.0%} of the efficiency of one rank; grading, dev evaluations and checkpoints are not counted"
    )
    for line in advice(limits_of(subject), plan):
        console.print(line)


def figures(plan: ScalingPlan) -> Table:
    """Seconds by phase, and what a rank sends, in one table."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("per step and rank")
    for heading in ("seconds", "MB sent"):
        table.add_column(heading, justify="right")
    for phase, seconds in vars(plan.seconds).items():
        table.add_row(phase if phase != "batch" else "whole batch on every rank", f"{seconds:,.3f}")
    for name, size in plan.traffic.as_json().items():
        if size:
            table.add_row(SENT[name], "", f"{size / 1e6:,.1f}")
    table.add_section()
    table.add_row("step", f"{plan.seconds.step:,.3f}", f"{sum(plan.traffic.as_json().values()) / 1e6:,.1f}")
    return table


def advice(limits: Limits, plan: ScalingPlan) -> list[str]:
    """The limits in words, and where to draw."""
    rollouts = "never" if limits.rollouts_from is None else f"from {count(limits.rollouts_from, 'rank')} on"
    return [
        f"useful up to {count(limits.useful, 'rank')} with these prompts and k: half of one rank's efficiency; "
        f"slots are full up to {count(limits.full_slots, 'rank')}",
        f"rollouts are more than half of a step: {rollouts}",
        engine_advice(plan),
    ]


def count(number: int, what: str) -> str:
    """``1 rank``, ``8 ranks``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
