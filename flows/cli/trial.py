"""``ratchet try``."""

from typing import Annotated

import typer

from ratchet.flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption
from ratchet.flows.cli.output import as_json
from ratchet.flows.cli.supervision import conclude, continue_in_child, emit

MOST = 1000


def try_(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    samples: Annotated[int, typer.Option("-n", min=1, max=MOST, help="Number of samples.")] = 8,
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="Ask this instead of rows of dev; graded if it is the prompt of a row.")
    ] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="Take the most likely token instead of sampling.")] = False,
    version: Annotated[
        str | None, typer.Option("--version", help="A registered version (number, champion, challenger) instead.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Sample the starting policy on rows of dev, and show the grades of each completion by gold, reward and other graders.

    The policy is warmed up first if necessary. The same command shows the same samples. Nothing is recorded, and no
    sealed item is read. --json has full texts.

    Example: ratchet try -n 8
    """
    continue_in_child()
    from ratchet.components.code.extras import require_train

    require_train()
    from ratchet.components.run.samples import Wish, try_policy
    from ratchet.flows.cli.options import open_named
    from ratchet.flows.cli.views.console import Display, say
    from ratchet.flows.cli.views.samples import show_samples

    project, display = open_named(recipe, overrides, say), Display()
    with display.live():
        tried = try_policy(project, Wish(samples, prompt, greedy, version), display)
    if json_output:
        emit(as_json(tried.as_json()))
    else:
        show_samples(tried)
    conclude()
