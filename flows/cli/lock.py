"""``ratchet lock``: write the versions that are installed into the project's constraints.txt."""

from ratchet.flows.cli.options import JsonOption
from ratchet.flows.cli.output import as_json
from ratchet.flows.cli.supervision import emit


def lock(json_output: JsonOption = False) -> None:
    """Write constraints.txt again, with the versions that are installed, so that `ratchet reproduce` can install them.

    Run it after each upgrade, and commit the file. A clone of Ratchet has a file of its own, made by
    `make constraints`, and is refused with exit code 2.

    Example: ratchet lock
    """
    from ratchet.components.code.constraints import CONSTRAINTS, PINNED, installed_constraints
    from ratchet.components.code.source_code import release_beside
    from ratchet.components.errors import RecipeError
    from ratchet.components.storage.files import write_text
    from ratchet.components.storage.home import Home
    from ratchet.components.storage.permissions import as_user_writes

    project = Home.here().project
    if release_beside(project) is None:
        raise RecipeError(f"{project} is a clone of Ratchet, whose {CONSTRAINTS} is written by `make constraints`. Use that.")
    path, text = project / CONSTRAINTS, installed_constraints()
    with as_user_writes():
        write_text(path, text)
    pinned, others = len(PINNED.findall(text)), [line for line in text.splitlines()[1:] if line.startswith("#")]
    if json_output:
        emit(as_json({"file": str(path), "pinned": pinned, "left_out": [line.split()[1] for line in others]}))
        return
    print(f"{path}: {pinned} libraries. Commit it.")
    for line in others:
        print(line.removeprefix("# "))
