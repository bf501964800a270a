"""``ratchet docs``: the documents of the installed release, for machines without a browser or a network."""

from pathlib import Path
from typing import Annotated

import typer

from ratchet.flows.cli.options import JsonOption
from ratchet.flows.cli.output import as_json
from ratchet.flows.cli.supervision import emit


def docs(
    page: Annotated[str, typer.Argument(help="A page as messages name it: docs/gates.md, or gates.", show_default=False)] = "",
    json_output: JsonOption = False,
) -> None:
    """List the documents of this release, or print a page as Markdown. `--json` has the file of each.

    Example: ratchet docs gates
    """
    found = pages(folder())
    names = [page_name(page, list(found))] if page else list(found)
    listed = [{"page": name, "title": title(found[name]), "file": str(found[name])} for name in names]
    if json_output:
        emit(as_json(listed[0] if page else listed))
        return
    if page:
        print(found[names[0]].read_text(encoding="utf-8"), end="")
        return
    width = max(map(len, names))
    for one in listed:
        print(f"{one['page']:{width}}  {one['title']}")


def folder() -> Path:
    """The documents: within the package of a wheel, beside that of a clone."""
    import ratchet

    package = Path(ratchet.__file__).parent
    return next(place for place in (package / "docs", package.parent / "docs") if place.is_dir())


def pages(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.md"))}


def title(path: Path) -> str:
    """The first heading of a page."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line.removeprefix("# ") for line in lines if line.startswith("# ")), "")


def page_name(asked: str, names: list[str]) -> str:
    """The page that somebody means by its name or by a path that a message has.

    Raises:
        RecipeError: if there is no such page.
    """
    from difflib import get_close_matches

    from ratchet.components.errors import RecipeError

    name = asked.partition("#")[0].removeprefix("docs/").removesuffix(".md")
    if name in names:
        return name
    near = get_close_matches(name, names)
    meant = f"Did you mean {' or '.join(near)}? " if near else ""
    raise RecipeError(f"there is no page {asked!r}. {meant}`ratchet docs` lists all.")
