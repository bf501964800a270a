"""``ratchet gate``: the run, stopped after the verdict."""

from flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption, SlotOption
from flows.cli.run import run_until


def gate(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    json_output: JsonOption = False,
    slot: SlotOption = None,
) -> None:
    """Run up to the verdict. It is recorded, but a promotion is left to `ratchet run`.

    Example: ratchet gate --json
    """
    run_until("gate", recipe, overrides or [], json_output, slot)
