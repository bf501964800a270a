"""The sources that a result depends on, found from the imports, and their digest: changed code is a changed key."""

import ast
from collections.abc import Collection, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ratchet.components.storage.digests import digest_of_digests, file_digest

ROOT = Path(__file__).parents[1]
PACKAGE = __name__.rpartition(".code.")[0]
NOT_INSTALLED = "not installed"  # imported from PYTHONPATH, for example


@cache
def sources_digest() -> str:
    """sha256 over every source file of ``components``; once per process: an edit during a run takes effect in the next run."""
    return _digest_of_files(set(ROOT.rglob("*.py")))


def release_beside(project: Path) -> str | None:
    """The installed release of Ratchet, or ``NOT_INSTALLED``; None where the project itself has the code, as a clone does."""
    if ROOT.resolve() == (project / ROOT.name).resolve():
        return None
    try:
        return version("ratchet-rl")
    except PackageNotFoundError:
        return NOT_INSTALLED


@cache
def closure_digest(module: str, without: Collection[str] = ()) -> str:
    """sha256 over the sources of a module and of all that it imports; once per process.

    Args:
        module: its full name, as in ``__name__``.
        without: modules whose sources do not count, and whose imports are not followed.
    """
    return _digest_of_files(closure(module, without))


def closure(module: str, without: Collection[str] = ()) -> set[Path]:
    """The files of ``components`` that a module needs: its own, what they import, inside functions too, and their templates.

    A file that is not Python and lies beside a module counts with the module, which may read it.
    """
    found: set[Path] = set()
    waiting, known = [module], set(without)
    while waiting:
        name = waiting.pop()
        if name in known:
            continue
        known.add(name)
        path = _source(name)
        if path is not None:
            found.add(path)
            # importing a.b.c runs a and a.b first
            waiting += [name.rpartition(".")[0], *_imports(path.read_text(encoding="utf-8"), name)]
    return found | {file for folder in {path.parent for path in found} for file in _templates(folder)}


@cache  # the closures of the stages share most of their modules
def _imports(text: str, module: str) -> tuple[str, ...]:
    """Names that may be modules: of ``from a import b``, both a and a.b. What only a type checker imports does not count."""
    return tuple(_imported(ast.parse(text), module))


def _imported(tree: ast.AST, module: str) -> Iterator[str]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            yield from (str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names))
        waiting += ast.iter_child_nodes(node)


def _source(module: str) -> Path | None:
    """The file of a module of ``components``; None for any other name."""
    if not f"{module}.".startswith(f"{PACKAGE}."):
        return None
    place = ROOT.joinpath(*module.removeprefix(PACKAGE).split("."))
    candidates = (place / "__init__.py", place.with_suffix(".py"))
    return next((path for path in candidates if path.is_file()), None)


def _templates(folder: Path) -> Iterator[Path]:
    return (file for file in folder.iterdir() if file.is_file() and file.suffix != ".py" and not file.name.startswith("."))


def _digest_of_files(files: set[Path]) -> str:
    return digest_of_digests({file.relative_to(ROOT).as_posix(): file_digest(file) for file in files})
