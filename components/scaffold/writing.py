"""Write a project's files: all or none, each at once, and never over a file with other content."""

import difflib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from ratchet.components.errors import RecipeError
from ratchet.components.scaffold.recipe_text import SCHEMA
from ratchet.components.storage.files import scratch_directory
from ratchet.components.storage.home import RECIPE
from ratchet.components.text import visible

Files = Mapping[str, bytes]  # by path from the project's root
IGNORED = (".ratchet/", "mlflow/mlflow.db*", "mlflow/artifacts/", "/data/", "/data.*/", ".venv/", "*.log")
GITIGNORE = ".gitignore"


def with_ignored(text: bytes) -> bytes:
    """A .gitignore with the lines that it lacks; what stands in it stays as it is."""
    known = {line.strip().strip(b"/") for line in text.splitlines()}
    lines = [line.encode() for line in IGNORED if line.strip("/").encode() not in known]
    end = b"\r\n" if b"\r\n" in text else b"\n"
    between = end if text and not text.endswith(b"\n") else b""
    return text + between + b"".join(line + end for line in lines) if lines else text


def require_free(folder: Path, files: Files) -> None:
    """Refuse a folder in which a file has other content, or something is where a file or its folder is to be.

    Raises:
        RecipeError: with the difference of each.
    """
    faults = [fault for name, content in files.items() if (fault := _fault(folder, name, content))]
    faults += [fault for name in (SCHEMA, GITIGNORE) if (fault := _blocked(folder / name))]
    if faults:
        told = "\n".join(faults)
        raise RecipeError(
            f"{folder} has files with other content than this command would write:\n{told}\n"
            "Nothing was written. Move these files away, edit them yourself, or name another folder."
        )


def missing(folder: Path, files: Files) -> dict[str, bytes]:
    """The files that are not there yet."""
    return {name: content for name, content in files.items() if not (folder / name).is_file()}


def write_files(folder: Path, files: Files) -> None:
    """Write files that are not there; the recipe last, because it makes the folder a project.

    Raises:
        RecipeError: if one appeared meanwhile. The same command continues with what there is.
    """
    scratch = scratch_directory(folder / ".ratchet" / "workspaces", "init")
    try:
        for name in sorted(files, key=lambda name: name == RECIPE):
            temporary = scratch / "file"
            _write(temporary, files[name])
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            _move(temporary, folder / name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def ignore_state(folder: Path) -> bool:
    """Append to the project's .gitignore the lines that it lacks, at once; whether there were any."""
    path = (folder / GITIGNORE).resolve()  # of a link, the file that it leads to
    found = path.read_bytes() if path.is_file() else b""
    wanted = with_ignored(found)
    if wanted == found:
        return False
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        _write(temporary, wanted)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _move(temporary: Path, path: Path) -> None:
    """Give a file its name, unless another has it: a rename alone would replace that."""
    try:
        os.link(temporary, path)
    except FileExistsError as error:
        raise RecipeError(f"{path} appeared meanwhile. Run the same command again.") from error
    except OSError:  # a file system without hard links
        temporary.replace(path)
        return
    temporary.unlink()


def _fault(folder: Path, name: str, content: bytes) -> str | None:
    path = folder / name
    blocked = _blocked(path)
    if blocked is not None or not os.path.lexists(path):
        return blocked
    found = path.read_bytes()
    return None if found == content else "\n".join(_difference(name, found, content))


def _blocked(path: Path) -> str | None:
    """What stands where a file, or a folder above it, is to be."""
    above = next((above for above in path.parents if os.path.lexists(above) and not above.is_dir()), None)
    if above is not None:
        return f"{above} is not a folder"
    return f"{path} is not a file" if os.path.lexists(path) and not path.is_file() else None


def _difference(name: str, found: bytes, wanted: bytes) -> Iterator[str]:
    try:
        before, after = (text.decode().splitlines() for text in (found, wanted))
    except UnicodeDecodeError:
        yield f"{name}: {len(found)} bytes there, {len(wanted)} other ones to be written"
        return
    lines = difflib.unified_diff(before, after, f"{name} (there)", f"{name} (to be written)", lineterm="")
    yield from map(visible, lines)
