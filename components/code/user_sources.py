"""The sources that a user's function may run: its module or file, and what that imports from the project, transitively.

Nothing is imported to find them: importing runs code of the user. Installed libraries are not followed: what they are is in the
lock of the user's environment.
"""

import ast
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from ratchet.components.errors import RecipeError
from ratchet.components.storage.digests import file_digest
from ratchet.components.storage.home import project_root

INSTALLED = frozenset({"site-packages", "dist-packages"})


def function_digests(
    functions: Iterable[str], digest: Callable[[Path], str] = file_digest, reads: Iterable[str] = ()
) -> dict[str, str]:
    """sha256 of the files that a reward's own functions may run or read, so that an edit of them is a changed key.

    Args:
        functions: each as for :func:`source_files`.
        digest: gives the sha256 of a file.
        reads: as for :func:`files_read`.

    Raises:
        RecipeError: if there is no such module or file.
    """
    read = {f"reward_file/{name}": digest(file) for name, file in files_read(reads).items()}
    return read | {
        f"reward_function/{function}/{name}": found
        for function in functions
        for name, found in source_digests(function, digest).items()
    }


def source_digests(target: str, digest: Callable[[Path], str] = file_digest) -> dict[str, str]:
    """sha256 of each file, by its path from the project's root, or from the folder of all such files where it is elsewhere.

    Args:
        target, Raises: as for :func:`source_files`.
        digest: gives the sha256 of a file.
    """
    root, files = project_root(), source_files(target)
    elsewhere = [file.parent for file in files if not file.is_relative_to(root)]
    folder = os.path.commonpath(elsewhere) if elsewhere else root
    return {file.relative_to(root if file.is_relative_to(root) else folder).as_posix(): digest(file) for file in files}


def files_read(names: Iterable[str], key: str = "files") -> dict[str, Path]:
    """The files that functions read, by the names that the recipe has for them: their paths from the project's root.

    Args:
        key: the recipe's key that names them, for messages.

    Raises:
        RecipeError: if one is not there.
    """
    root = project_root()
    files = {name: root / name for name in names}
    for name, file in files.items():
        if not file.is_file():
            raise RecipeError(f"{key}: there is no file {name!r} in {root}. Write its path from the project's root.")
    return files


def source_files(target: str, key: str = "the function") -> list[Path]:
    """The files themselves, in order of their paths: every module of the function's package, and what they import.

    Args:
        target: ``module:function`` or ``path/to/file.py:function``.
        key: what names the function, for messages: the recipe's key, if one does.

    Raises:
        RecipeError: if there is no such module or file.
    """
    waiting = _own_files(target, key)
    found: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += _imported(file)
    return sorted(found)


def imported_libraries(target: str) -> set[str]:
    """First names of the modules that a function's own files import, and that are neither the project's nor Python's.

    Args, Raises: as of :func:`source_files`.
    """
    own = [file for file in source_files(target) if INSTALLED.isdisjoint(file.parts)]
    named = [(file.parent, module) for file in own for module, level in _imports(file) if not level]
    if not (module := target.rpartition(":")[0]).endswith(".py"):
        named.append((project_root(), module))
    names = {module.partition(".")[0] for folder, module in named if not any(_local(module, folder, 0))}
    return names - sys.stdlib_module_names - {__name__.partition(".")[0]}


def _own_files(target: str, key: str) -> list[Path]:
    """Every module of the function's package, since it may import any; or its one module or file."""
    module = target.rpartition(":")[0]
    own, folders = (project_root() / module, []) if module.endswith(".py") else _found(module)
    if own is None or not own.is_file():
        raise RecipeError(
            f"{key} {target!r}: there is no {module!r} in {project_root()} or among the installed packages. "
            "Write module:function or path/to/file.py:function."
        )
    return [own, *(file for folder in folders for file in Path(folder).rglob("*.py"))]


def _found(module: str) -> tuple[Path | None, list[str]]:
    """A module's file, and the folders of its top package."""
    first, *rest = module.split(".")
    if not all(name.isidentifier() for name in (first, *rest)):
        return None, []
    spec = PathFinder.find_spec(first, [str(project_root())]) or _installed(first)
    folders = list(spec.submodule_search_locations or []) if spec else []
    for number in range(len(rest)):
        inside = spec.submodule_search_locations if spec else None
        spec = PathFinder.find_spec(".".join([first, *rest[: number + 1]]), inside) if inside else None
    return (Path(spec.origin) if spec and spec.origin else None), folders


def _installed(module: str) -> ModuleSpec | None:
    """Found by any finder, such as that of an editable install; none of them runs a top-level module."""
    specs = (finder.find_spec(module, None) for finder in sys.meta_path if hasattr(finder, "find_spec"))
    return next((spec for spec in specs if spec is not None), None)


def _imported(file: Path) -> Iterator[Path]:
    """Files of the project that a file imports, also inside functions; none if it is not Python, which loading it says."""
    if not INSTALLED.isdisjoint(file.parts):  # what lies beside it is every other library
        return
    for module, level in _imports(file):
        yield from _local(module, file.parent, level)


def _imports(file: Path) -> Iterator[tuple[str, int]]:
    """Names that may be modules, each with its level: of ``from a import b``, both a and a.b."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield from ((name, node.level) for name in (module, *(f"{module}.{one.name}".lstrip(".") for one in node.names)))


def _local(module: str, folder: Path, level: int) -> Iterator[Path]:
    """The file of a module, and the packages above it, beside the importing file or in the project's root."""
    parts = module.split(".") if module else []
    places = [folder.joinpath(*[".."] * (level - 1)).resolve()] if level else [folder, project_root()]
    for place in places:
        for size in range(len(parts) + 1):
            path = place.joinpath(*parts[:size])
            candidates = (path.with_suffix(".py") if size else path / "__init__.py", path / "__init__.py")
            yield from (one for one in dict.fromkeys(candidates) if one.is_file() and (size or level))
