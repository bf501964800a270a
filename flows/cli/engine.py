"""``ratchet engine``."""

from typing import Annotated

import typer

from ratchet.flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption
from ratchet.flows.cli.output import as_json
from ratchet.flows.cli.supervision import conclude, continue_in_child, emit

app = typer.Typer(
    help="Engines outside of Ratchet that draw completions: whether a server keeps their contract.\n\n"
    "Example: ratchet engine check",
    no_args_is_help=True,
)

UrlOption = Annotated[str | None, typer.Option("--url", help="The server, in place of train.sampling.vllm.url.")]


@app.command()
def check(
    url: UrlOption = None,
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    json_output: JsonOption = False,
) -> None:
    """Check a running vLLM server with the recipe's starting policy: ten points, each with its figure. Exit 1 if one fails.

    The policy is warmed up first if necessary. Its weights are written to train.sampling.vllm.folder (.ratchet/engine, if the
    recipe has no such section) and given to the server, which keeps them: check a server that nobody else uses.

    Example: ratchet engine check --url http://127.0.0.1:8000
    """
    continue_in_child()
    from ratchet.components.code.extras import require_train

    require_train()
    from ratchet.components.inspection.engine_check import check_server
    from ratchet.flows.cli.options import open_named
    from ratchet.flows.cli.views.console import Display, say
    from ratchet.flows.cli.views.engine import show_checks

    project, display = open_named(recipe, overrides, say), Display()
    with display.live():
        checks = check_server(project, url, display)
    ok = all(check.ok for check in checks)
    if json_output:
        emit(as_json({"ok": ok, "checks": [check.as_json() for check in checks]}))
    else:
        show_checks(checks)
    conclude(0 if ok else 1)
