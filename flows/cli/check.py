"""``ratchet check``."""

from ratchet.flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption
from ratchet.flows.cli.output import as_json
from ratchet.flows.cli.supervision import conclude, continue_in_child, emit


def check(recipe: RecipeOption = DEFAULT_RECIPE, overrides: SetOption = None, json_output: JsonOption = False) -> None:
    """Check recipe, rows, prompts, gold and power in seconds, without a model; nothing is trained or downloaded.

    Rows are prepared and the gold is validated as in a run, which then finds both finished. Your functions are imported and
    called, in separate processes. `ratchet recipe check` is the same command.

    Exit codes: 0 fine, warnings included (UNDERPOWERED is one), 2 recipe, rows or prompts cannot be used, 4 the gold is
    refused, 1 the ledger or the store cannot be used, or an error.

    Example: ratchet check --set data.source=rows.jsonl
    """
    continue_in_child()
    from ratchet.components.inspection.check import check_project
    from ratchet.components.storage.home import Home
    from ratchet.flows.cli.views.check import show_checked
    from ratchet.flows.cli.views.console import Display, say

    display = Display()
    with display.live():
        found = check_project(recipe, overrides or [], Home.here(), display, say)
    if json_output:
        emit(as_json(found.as_json()))
    else:
        show_checked(found)
    conclude(found.exit_code)
