"""``ratchet train`` and ``ratchet evaluate``: the run, stopped after that stage; and what training would take."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ratchet.flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption, SlotOption, as_given
from ratchet.flows.cli.output import as_json
from ratchet.flows.cli.run import run_until
from ratchet.flows.cli.supervision import emit

if TYPE_CHECKING:
    from ratchet.components.recipe import Recipe
    from ratchet.components.training.estimate import Place
    from ratchet.components.training.scaling.plan import ScalingPlan

EstimateOption = Annotated[
    bool,
    typer.Option("--estimate", help="Estimate memory, and the time per step with ranks, without training."),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="With --estimate: the model's config.json, or its folder.", callback=as_given),
]
MemoryOption = Annotated[
    float | None,
    typer.Option("--gpu-memory", min=0.1, help="With --estimate or --algorithms: memory in GiB of a GPU on another machine."),
]
PromptOption = Annotated[
    int | None, typer.Option("--prompt-tokens", min=1, help="With --estimate: tokens of the longest prompt.")
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, help="With --estimate: ranks with a GPU each.", show_default="the recipe's launch.workers"
    ),
]
GpuOption = Annotated[
    Literal["a100", "h100", "h200"] | None,
    typer.Option("--gpu", help="With --estimate: the GPU of each rank.", show_default="this machine's, else h100"),
]


@dataclass(frozen=True)
class Asked:
    """What ``--estimate`` is to assume."""

    config: Path | None = None
    gpu_memory: float | None = None
    prompt_tokens: int | None = None
    workers: int | None = None
    gpu: str | None = None

    @property
    def gib(self) -> float | None:
        """Memory of a GPU on another machine."""
        from ratchet.components.training.memory import GIB
        from ratchet.components.training.scaling.cluster import GPUS

        return GPUS[self.gpu].memory / GIB if self.gpu is not None and self.gpu_memory is None else self.gpu_memory

    def refuse(self) -> None:
        """
        Raises:
            BadParameter: if anything was given, as without ``--estimate`` nothing takes it.
        """
        if self.workers is not None:
            remedy = f"--set launch.kind=torchrun --set launch.workers={self.workers}"
            raise typer.BadParameter(f"--workers is for --estimate; to train on {self.workers} ranks pass {remedy}")
        if self != Asked():
            raise typer.BadParameter("--config, --gpu, --gpu-memory and --prompt-tokens are for --estimate")


def train(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    json_output: JsonOption = False,
    slot: SlotOption = None,
    estimate: EstimateOption = False,
    config: ConfigOption = None,
    gpu_memory: MemoryOption = None,
    prompt_tokens: PromptOption = None,
    workers: WorkersOption = None,
    gpu: GpuOption = None,
) -> None:
    """Run up to training; resumes from the newest complete checkpoint.

    Example: ratchet train --estimate --recipe recipes/gsm8k_grpo.yaml --workers 8 --gpu h100
    """
    asked = Asked(config, gpu_memory, prompt_tokens, workers, gpu)
    if estimate:
        print_estimate(recipe, overrides or [], json_output, asked)
        return
    asked.refuse()
    run_until("train", recipe, overrides or [], json_output, slot)


def print_estimate(recipe: Path, overrides: list[str], json_output: bool, asked: Asked) -> None:
    """The tables, or JSON; nothing is trained, downloaded or written."""
    from ratchet.components.recipe import load_recipe
    from ratchet.components.training.estimate import plan_ahead
    from ratchet.flows.cli.views.memory import print_plan
    from ratchet.flows.cli.views.scaling import print_scaling

    loaded = load_recipe(recipe, overrides)
    plan = plan_ahead(loaded, place_of(loaded, asked.gib), asked.config, asked.prompt_tokens)
    ranks = planned_ranks(loaded, asked)
    if json_output:
        scaling = {} if ranks is None else {"scaling": ranks.as_json()}
        emit(as_json({"recipe": str(recipe), **plan.as_json(), **scaling}))
        return
    print_plan(plan)
    if ranks is not None:
        print_scaling(ranks)


def planned_ranks(recipe: "Recipe", asked: Asked) -> "ScalingPlan | None":
    """What the asked or the recipe's ranks would make of it; None for a single process that nobody asked about."""
    import torch

    from ratchet.components.training.memory import GIB
    from ratchet.components.training.scaling.cluster import GPUS, gpu_named
    from ratchet.components.training.scaling.plan import scaling_plan, subject_of

    launch = recipe.launch
    if asked.workers is None and launch.workers == 1:
        return None
    here = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    gpu = GPUS[asked.gpu] if asked.gpu is not None else gpu_named(here)
    memory = None if asked.gib is None else int(asked.gib * GIB)
    subject = subject_of(recipe, gpu, memory, asked.config, asked.prompt_tokens)
    if asked.workers is not None:
        return scaling_plan(subject, asked.workers)
    return scaling_plan(subject, launch.workers, launch.nodes if launch.nodes > 1 else None)


def place_of(recipe: "Recipe", gpu_memory: float | None) -> "Place":
    """A GPU with so many GiB, else the recipe's device on this machine."""
    from ratchet.components.policy.loading import pick_device
    from ratchet.components.training.device_memory import device_bytes
    from ratchet.components.training.estimate import Place
    from ratchet.components.training.memory import GIB

    if gpu_memory is not None:
        return Place("cuda", int(gpu_memory * GIB))
    device = pick_device(recipe.device)
    return Place(device.type, device_bytes(device))


def evaluate(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    json_output: JsonOption = False,
    slot: SlotOption = None,
) -> None:
    """Run up to evaluation on dev; no sealed item is read.

    Example: ratchet evaluate --set evaluation.samples=4
    """
    run_until("evaluate", recipe, overrides or [], json_output, slot)
