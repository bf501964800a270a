"""docs/command_line.md: every verb, argument and option of ``ratchet``, as ``--help`` has them."""

import inspect
from collections.abc import Iterator
from typing import Any

import typer

from ratchet.flows.cli import app

INTRODUCTION = """# Command line

Every command of `ratchet`, as `ratchet COMMAND --help` prints it. Many share these options: `--recipe FILE` (by default
`ratchet.yaml` of this folder or the nearest above it), `--set key.path=value` (repeatable), and `--json`, with which stdout has
exactly one JSON value ([json.md](json.md)) and everything else goes to stderr. [exit_codes.md](exit_codes.md) lists the exit
codes. `ratchet --install-completion` installs completion for your shell.

This page is generated: `python -m docs.generate`."""
SHARED = {"--recipe", "--set", "--json", "--help"}


def text() -> str:
    """The page."""
    root = typer.main.get_command(app)
    return "\n\n".join([INTRODUCTION, *(_chapter(name, command) for name, command in commands(root))]) + "\n"


def commands(group: Any, prefix: str = "ratchet") -> Iterator[tuple[str, Any]]:
    """Each command that is not hidden and does something, with its full name."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        full = f"{prefix} {name}"
        inner = getattr(command, "commands", None)
        if not inner or command.invoke_without_command:
            yield full, command
        if inner:
            yield from commands(command, full)


def _chapter(name: str, command: Any) -> str:
    context = command.make_context(name, [], resilient_parsing=True, max_content_width=10_000, terminal_width=10_000)
    usage = " ".join([name, *command.collect_usage_pieces(context)]).replace("[[", "[").replace("]]", "]")
    about = inspect.cleandoc(command.help or "")
    prose, _, example = about.partition("Example: ")
    parts = [f"## {name}", prose.replace("\f", "").strip(), f"```console\n{usage}\n```"]
    if example:
        parts.append(f"Example: `{' '.join(example.split())}`")
    rows = [_row(parameter, context) for parameter in command.params if not SHARED & set(parameter.opts)]
    if rows:
        parts.append("\n".join(["| argument or option | meaning |", "| --- | --- |", *rows]))
    if shared := [option for parameter in command.params for option in parameter.opts if option in SHARED - {"--help"}]:
        parts.append(f"Also: {', '.join(f'`{option}`' for option in shared)}.")
    return "\n\n".join(parts)


def _row(parameter: Any, context: typer.Context) -> str:
    described = parameter.get_help_record(context)
    left, right = described or (parameter.make_metavar(context), "")
    return f"| `{left}` | {' '.join(right.split())} |".replace("\\", "\\\\")
