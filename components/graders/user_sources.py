"""The sources that a user's function may run: its module or file, and what that imports from the project, transitively.

Nothing is imported to find them. Installed libraries are not followed: what they are is in the lock of the user's environment.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from ratchet.components.digests import file_digest
from ratchet.components.user_code import function_files, project_root


def source_digests(target: str) -> dict[str, str]:
    """sha256 of each file, by its path from the project's root, or by its name where it is elsewhere.

    Args:
        target: ``module:function`` or ``path/to/file.py:function``.

    Raises:
        RecipeError: if there is no such module or file.
    """
    root = project_root()
    return {
        (file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name): file_digest(file)
        for file in source_files(target)
    }


def source_files(target: str) -> list[Path]:
    """The files themselves, in order of their paths."""
    waiting = function_files(target)
    found: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += _imported(file)
    return sorted(found)


def _imported(file: Path) -> Iterator[Path]:
    """Files of the project that a file imports, also inside functions; none if it is not Python, which loading it says."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _local(alias.name, file.parent, 0)
        elif isinstance(node, ast.ImportFrom):
            for name in (node.module or "", *(f"{node.module or ''}.{alias.name}".lstrip(".") for alias in node.names)):
                yield from _local(name, file.parent, node.level)


def _local(module: str, folder: Path, level: int) -> Iterator[Path]:
    """The file of a module, and the packages above it, beside the importing file or in the project's root."""
    parts = module.split(".") if module else []
    places = [folder.joinpath(*[".."] * (level - 1)).resolve()] if level else [folder, project_root()]
    for place in places:
        for size in range(len(parts) + 1):
            path = place.joinpath(*parts[:size])
            candidates = (path.with_suffix(".py") if size else path / "__init__.py", path / "__init__.py")
            yield from (one for one in dict.fromkeys(candidates) if one.is_file() and (size or level))
