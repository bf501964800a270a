"""The tables of docs/scaling.md, by the functions of ``ratchet train --estimate --workers``; the rest is written by hand."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path

from ratchet.components.policy.configuration import ModelShape, shape_of, stated_configuration
from ratchet.components.recipe import load_recipe
from ratchet.components.training.memory import GIB
from ratchet.components.training.price import SIZES
from ratchet.components.training.scaling.cluster import GPUS
from ratchet.components.training.scaling.plan import ScalingPlan, Subject, limits_of, scaling_plan
from ratchet.components.training.scaling.step import MEASURED, Rates

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "scaling.md"
MADE = re.compile(r"<!-- made: (?P<name>[\w ]+) -->\n(?:(?!<!--).*\n)*<!-- end -->")
# The step of docs/results.md, so that a computed row stands beside a measured one.
STEP = ["policy.max_new_tokens=256", "train.kl=none", "train.sentinel.kl=null"]
PROMPT_TOKENS, PROMPTS = 128, 64
MODELS = ("Qwen2.5-0.5B", "Qwen2.5-1.5B", "Qwen2.5-7B")
GPU = GPUS["h100"]
WHAT = {
    "decode_layer": "seconds of a decode step per layer, whatever its rows; fitted to the steps of [engines.md](engines.md)",
    "decode_share": "of the memory's bandwidth that a decode step reaches beyond that; fitted likewise",
    "utilisation": "of the speed of products: an update of 442 TFLOP in 1.21 s ([results.md](results.md))",
    "eager": "the same of layers that are not compiled, as sharded ones: 2.68 s, with a dense mask (results.md)",
    "queue": "seconds to queue a forward and backward pass, per layer: 0.125 s for 24 layers (results.md)",
    "figures": "seconds per completion token of the whole batch: 0.05 s for 131,072 (results.md)",
    "read": "seconds per completion token of other ranks, on one core of an AMD EPYC, 2026-11-27",
    "host_network": "bytes per second by which completions reach a rank; assumed",
}
ALIGNED = "| --- | --: | --- |" + " --: |" * 8


def text() -> str:
    """The page, with its tables made again."""
    return MADE.sub(lambda found: block(found["name"]), PAGE.read_text(encoding="utf-8"))


def block(name: str) -> str:
    """A table between the comments by which it is found again."""
    return f"<!-- made: {name} -->\n{TABLES[name]()}\n<!-- end -->"


@cache
def shape(model: str) -> ModelShape:
    return shape_of(stated_configuration(SIZES[model], model))


def subject(model: str, prompts: int) -> Subject:
    """The step on a model, with so many prompts."""
    recipe = load_recipe(ROOT / "recipes" / "gsm8k_grpo.yaml", [*STEP, f"train.prompts={prompts}"])
    return Subject(recipe, shape(model), PROMPT_TOKENS, GPU, GPU.memory)


def plans(ranks: Sequence[int], prompts: Callable[[int], int]) -> str:
    """A row for each model and number of ranks."""
    headings = "| model | GPUs | memory per GPU | rollout | update | traffic | batch | step | rollouts | sent | efficiency |"
    rows = [plan_row(model, scaling_plan(subject(model, prompts(count)), count)) for model in MODELS for count in ranks]
    return "\n".join([headings, ALIGNED, *rows])


def plan_row(model: str, plan: ScalingPlan) -> str:
    seconds, memory = plan.seconds, plan.memory
    fits = "" if memory.plan.fits else ", does not fit"
    held = f"{memory.mode}, {memory.plan.estimate.peak / GIB:.0f} GiB{fits}"
    times = [seconds.rollout, seconds.update, seconds.communication, seconds.batch, seconds.step]
    sent = sum(plan.traffic.as_json().values()) / 1e9
    cells = [*(f"{value:,.2f}" for value in times), f"{plan.rollout_share:.0%}", f"{sent:,.1f}", f"{plan.efficiency:.2f}"]
    return f"| {model} | {plan.cluster.workers:,} | {held} | {' | '.join(cells)} |"


def limits() -> str:
    """Where more ranks stop being of use, for one batch and for eight times as large a one."""
    headings = "| model | prompts x k | slots are full up to | useful up to | rollouts are half of a step from |"
    rows = []
    for model in MODELS:
        for prompts in (PROMPTS, 8 * PROMPTS):
            found = limits_of(subject(model, prompts))
            reached = "never" if found.rollouts_from is None else f"{found.rollouts_from}"
            rows.append(f"| {model} | {prompts} x 8 | {found.full_slots} | {found.useful} | {reached} |")
    return table(headings, "| --- | --: | --: | --: | --: |", rows)


def gpus() -> str:
    """The GPUs that a plan knows."""
    headings = "| GPU | memory, GiB | bandwidth, TB/s | bf16, TFLOP/s | fp32, TFLOP/s | NVLink, GB/s | network, GB/s |"
    rows = [
        f"| `{gpu.name}` | {gpu.memory // GIB} | {gpu.bandwidth / 1e12:g} | {gpu.bf16 / 1e12:g} | {gpu.fp32 / 1e12:g} | "
        f"{gpu.link / 1e9:g} | {gpu.network / 1e9:g} |"
        for gpu in GPUS.values()
    ]
    return table(headings, "| --- |" + " --: |" * 6, rows)


def rates() -> str:
    """What is assumed of the code."""
    rows = [f"| `{field.name}` | {getattr(MEASURED, field.name):.3g} | {WHAT[field.name]} |" for field in fields(Rates)]
    return table("| constant of `Rates` | value | what it is |", "| --- | --: | --- |", rows)


def table(headings: str, rule: str, rows: Iterable[str]) -> str:
    return "\n".join([headings, rule, *rows])


TABLES = {
    "one batch": lambda: plans((1, 8, 64), lambda _: PROMPTS),
    "full slots": lambda: plans((1, 8, 64, 1024), lambda count: PROMPTS * count),
    "limits": limits,
    "gpus": gpus,
    "rates": rates,
}
