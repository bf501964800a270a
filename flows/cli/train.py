"""``ratchet train`` and ``ratchet evaluate``: the run, stopped after that stage; and the memory that training would take."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ratchet.flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption, SlotOption, as_given
from ratchet.flows.cli.output import as_json
from ratchet.flows.cli.run import run_until

if TYPE_CHECKING:
    from ratchet.components.recipe import Recipe
    from ratchet.components.training.estimate import Place

EstimateOption = Annotated[bool, typer.Option("--estimate", help="Print the memory that training takes, without training.")]
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


def train(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    json_output: JsonOption = False,
    slot: SlotOption = None,
    estimate: EstimateOption = False,
    config: ConfigOption = None,
    gpu_memory: MemoryOption = None,
    prompt_tokens: PromptOption = None,
) -> None:
    """Run up to training; resumes from the newest complete checkpoint.

    Example: ratchet train --estimate --recipe recipes/gsm8k_grpo.yaml --gpu-memory 80
    """
    if estimate:
        print_estimate(recipe, overrides or [], json_output, config, gpu_memory, prompt_tokens)
        return
    if config is not None or gpu_memory is not None or prompt_tokens is not None:
        raise typer.BadParameter("--config, --gpu-memory and --prompt-tokens are for --estimate")
    run_until("train", recipe, overrides or [], json_output, slot)


def print_estimate(
    recipe: Path,
    overrides: list[str],
    json_output: bool,
    config: Path | None,
    gpu_memory: float | None,
    prompt_tokens: int | None,
) -> None:
    """The table, or JSON; nothing is trained, downloaded or written."""
    from ratchet.components.recipe import load_recipe
    from ratchet.components.training.estimate import plan_ahead
    from ratchet.flows.cli.views.memory import print_plan

    loaded = load_recipe(recipe, overrides)
    plan = plan_ahead(loaded, place_of(loaded, gpu_memory), config, prompt_tokens)
    if json_output:
        print(as_json({"recipe": str(recipe), **plan.as_json()}))
    else:
        print_plan(plan)


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

    Example: ratchet evaluate --recipe recipes/quickstart.yaml
    """
    run_until("evaluate", recipe, overrides or [], json_output, slot)
