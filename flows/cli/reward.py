"""``ratchet reward``."""

import typer

from flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption, SlotOption
from flows.cli.run import run_until

app = typer.Typer(help="Rewards and their validation.", no_args_is_help=True)


@app.callback()
def nouns() -> None:
    """Rewards and their validation."""


@app.command()
def validate(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    json_output: JsonOption = False,
    slot: SlotOption = None,
) -> None:
    """Train the reward model where there is one, and validate the reward. Exit 4 if it is refused.

    Example: ratchet reward validate --set reward.model.label_noise=0.5
    """
    run_until("reward", recipe, overrides or [], json_output, slot)
