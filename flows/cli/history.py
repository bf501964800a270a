"""``ratchet history``: champions in the ledger."""

import sys

from ratchet.flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption, open_named
from ratchet.flows.cli.output import as_json
from ratchet.flows.cli.supervision import emit


def history(recipe: RecipeOption = DEFAULT_RECIPE, overrides: SetOption = None, json_output: JsonOption = False) -> None:
    """Which version was champion, since when, and who decided; oldest first. A ledger that was lost is an error.

    Example: ratchet history --json
    """
    from ratchet.components.errors import RegistryError
    from ratchet.components.inspection.disagreements import disagreements
    from ratchet.flows.cli.views.history import print_history
    from ratchet.flows.cli.views.status import PENDING

    project = open_named(recipe, overrides)
    promotions = project.known.history(project.name)
    lost = {} if promotions else disagreements(project.home, project.known, [project.name])
    if lost and project.name in lost:
        raise RegistryError(lost[project.name])
    if json_output:
        emit(as_json([promotion.as_json() for promotion in promotions]))
        return
    print_history(project.name, promotions)
    if project.name in project.known.pending():
        print(PENDING, file=sys.stderr)
