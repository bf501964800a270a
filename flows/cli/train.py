"""``ratchet train`` and ``ratchet evaluate``: the run, stopped after that stage."""

from flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption, SlotOption
from flows.cli.run import run_until


def train(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    json_output: JsonOption = False,
    slot: SlotOption = None,
) -> None:
    """Run up to training; resumes from the newest whole checkpoint.

    Example: ratchet train --set train.steps=40
    """
    run_until("train", recipe, overrides or [], json_output, slot)


def evaluate(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    json_output: JsonOption = False,
    slot: SlotOption = None,
) -> None:
    """Run up to evaluation on dev; no sealed item is touched.

    Example: ratchet evaluate --recipe recipes/quickstart.yaml
    """
    run_until("evaluate", recipe, overrides or [], json_output, slot)
