"""``ratchet grader``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ratchet.flows.cli.options import JsonOption, as_given
from ratchet.flows.cli.output import as_json
from ratchet.flows.cli.supervision import conclude, continue_in_child, emit

app = typer.Typer(
    help="Graders of your own: which protocol they have, and their bytes and digest.\n\n"
    "Example: ratchet grader show graders.py:grade",
    no_args_is_help=True,
)

FunctionArgument = Annotated[
    str,
    typer.Argument(
        metavar="FILE:FUNCTION",
        help="graders.py:grade, module:function of an installed package, or a grader's name in --recipe.",
    ),
]
FromOption = Annotated[Path | None, typer.Option("--recipe", help="Recipe whose section graders has the name.")]
ProtocolOption = Annotated[
    str, typer.Option("--protocol", help="If the signature is ambiguous: openai, trl, target, ratchet, lambda, names, inspect.")
]


@app.command()
def show(
    function: FunctionArgument,
    protocol: ProtocolOption = "auto",
    recipe: FromOption = None,
    row: Annotated[
        Path | None,
        typer.Option("--row", help="JSONL with prompt, completion and columns; its first row is graded.", callback=as_given),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Print the protocol of a function, the arguments of one call, its limits and its digest. It needs no recipe.

    Example: ratchet grader show graders.py:grade --row completions.jsonl
    """
    continue_in_child()
    from ratchet.components.graders.description import described
    from ratchet.flows.cli.views.grader import card, show

    facts = described(settings_of(function, protocol, recipe), first_call(row) if row else None)
    if json_output:
        emit(as_json(facts))
    else:
        show(card(facts))
    conclude()


@app.command()
def export(
    function: FunctionArgument,
    folder: Annotated[Path, typer.Option("--to", help="A folder that does not exist yet.", callback=as_given)],
    protocol: ProtocolOption = "auto",
    recipe: FromOption = None,
    json_output: JsonOption = False,
) -> None:
    """Write a function's sources, byte for byte, for use outside, with grader.json: its protocol, files and digest.

    Example: ratchet grader export right --recipe ratchet.yaml --to exported
    """
    continue_in_child()
    from ratchet.components.graders.description import export as write
    from ratchet.flows.cli.views.grader import card, show

    manifest = write(settings_of(function, protocol, recipe), folder)
    if json_output:
        emit(as_json(manifest))
    else:
        show(card(manifest))
    conclude()


def settings_of(function: str, protocol: str, recipe: Path | None) -> Any:
    """The settings that a recipe has, or would have.

    Raises:
        RecipeError: naming the option.
    """
    from pydantic import ValidationError

    from ratchet.components.errors import RecipeError
    from ratchet.components.recipe import UserFunction, load_recipe

    if recipe is not None:
        graders = load_recipe(recipe).graders
        if function not in graders:
            raise RecipeError(f"{recipe} has no grader {function!r}. Its graders are: {', '.join(graders) or 'none'}.")
        return graders[function]
    try:
        return UserFunction.model_validate({"type": "file", "file": function, "protocol": protocol})
    except ValidationError as error:
        if error.errors()[0]["loc"] == ("file",):
            raise RecipeError(f"{function!r} names no function. Write graders.py:grade, or module:function.") from error
        raise RecipeError(f"--protocol {protocol!r} is none: {error.errors()[0]['msg']}. Write one of these.") from error


def first_call(path: Path) -> dict[str, Any]:
    """The first row of a file, as a call."""
    from ratchet.components.errors import DataError
    from ratchet.flows.cli.reward import read_completions

    rows = read_completions(path)
    if not rows:
        raise DataError(f"{path} has no row. Write one object per line, with prompt and completion.")
    row = {key: rows[0][key] for key in ("id", "prompt", "answer", "item") if key in rows[0]}
    return {"prompt": rows[0]["prompt"], "completion": rows[0]["completion"], "row": row}
