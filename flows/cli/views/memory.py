"""The table of ``ratchet train --estimate``."""

from rich.table import Table

from ratchet.components.training.estimate import MemoryPlan
from ratchet.components.training.memory import GIB
from ratchet.flows.cli.views.terminal import make_console

PHASES = {
    "held": "all the time",
    "rollout": "while drawing completions",
    "critic": "while training the critic",
    "update": "while training the policy",
    "step": "while the optimizer steps",
    "dev": "while evaluating on dev",
}


def print_plan(plan: MemoryPlan) -> None:
    """Each part, by the phase that needs it, and the choice."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("when", "what"):
        table.add_column(heading)
    table.add_column("GiB", justify="right")
    for phase, words in PHASES.items():
        for number, part in enumerate(p for p in plan.estimate.parts if p.phase == phase):
            table.add_row("" if number else words, part.name, f"{part.bytes / GIB:.3f}")
    table.add_section()
    table.add_row("at most", "permanent, plus the largest phase", f"{plan.estimate.peak / GIB:.3f}")
    console = make_console()
    console.print(table)
    kind = "CPU" if plan.place.kind == "cpu" else "GPU"
    verdict = "fits" if plan.fits else "does not fit"
    console.print(
        f"{kind} with {plan.place.memory / GIB:.1f} GiB, of which {plan.place.budget / GIB:.1f} may be used: {verdict}"
    )
    console.print(", ".join(f"train.{name}={str(value).lower()}" for name, value in plan.choice._asdict().items()))
    console.print(f"prompts of at most {plan.prompt_tokens} tokens, {plan.train.prompts} x {plan.train.group_size} completions")
