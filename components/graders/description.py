"""What a user's grader is, for people and for use outside: its protocol, a call's arguments, limits, sources and digest."""

import shutil
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ratchet.components.code.user_sources import files_read, source_digests, source_files
from ratchet.components.errors import RecipeError
from ratchet.components.graders.build import build_grader
from ratchet.components.graders.faults import FaultError
from ratchet.components.graders.outside import user_worker
from ratchet.components.graders.protocol import Grade, RewardFunction
from ratchet.components.recipe import GraderSettings, UserFunction
from ratchet.components.storage.digests import file_digest
from ratchet.components.storage.files import write_json
from ratchet.components.storage.home import project_root

KEPT = ("file", "protocol", "signature", "sources", "type", "measure", "digest")  # of the facts, in an export
EXAMPLE = {
    "prompt": "What is 2 + 3?",
    "completion": "#### 5",
    "row": {"id": "example", "prompt": "What is 2 + 3?", "answer": "5"},
}


def described(settings: GraderSettings, call: Mapping[str, Any] | None = None, key: str = "the function") -> dict[str, Any]:
    """What ``ratchet grader show`` prints: of a built-in kind its settings and digest, of a function all that is known.

    Args:
        call: prompt, completion and row to grade.
        key: the recipe's key, for messages.

    Raises:
        RecipeError: if it cannot be built or loaded.
    """
    if isinstance(settings, UserFunction):
        return _function(settings, call, key)
    grader = build_grader(settings, key)
    said = {} if call is None else {"grade": asdict(_graded(grader, call))}
    return {
        "type": settings.type,
        "settings": settings.model_dump(mode="json"),
        "measure": grader.measure.kind,
        **said,
        "digest": grader.digest,
    }


def _function(settings: UserFunction, call: Mapping[str, Any] | None, key: str) -> dict[str, Any]:
    """The function is loaded in the worker's process, and called only if there is a call; else an example is shown."""
    digest, read = build_grader(settings, key).digest, files_read(settings.files)
    with closing(user_worker(settings, key, example=call or EXAMPLE)) as worker:
        facts = worker.start()
        said = {} if call is None else {"grade": asdict(_graded(worker, call))}
    return {
        "file": settings.file,
        "protocol": facts["protocol"],
        "signature": facts["signature"],
        "called": "once per batch" if facts["batch"] else "once per completion",
        "arguments": facts["arguments"],
        **said,
        "limits": settings.limits.model_dump(mode="json"),
        "sources": source_digests(settings.file) | {name: file_digest(file) for name, file in read.items()},
        "digest": digest,
    }


def _graded(grader: RewardFunction, call: Mapping[str, Any]) -> Grade:
    try:
        return grader([call["prompt"]], [call["completion"]], [call["row"]])[0]
    except FaultError as fault:
        return Grade(None, reason=str(fault), fault=fault.kind)


def export(settings: GraderSettings, folder: Path, key: str = "the function") -> dict[str, Any]:
    """Write ``grader.json`` with what a grader is into a new folder, and a function's sources beside it, byte for byte.

    Returns:
        What ``grader.json`` holds: the settings and the digest; of a function also protocol, signature, sha256 of each file.

    Raises:
        RecipeError: if the folder exists, or a source is outside of the project.
    """
    if folder.exists():
        raise RecipeError(f"{folder} exists. Name a folder that does not.")
    facts = described(settings, key=key)
    sources = _sources(settings) if isinstance(settings, UserFunction) else {}
    folder.mkdir(parents=True)
    for name, file in sources.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / name)
    kept = {name: fact for name, fact in facts.items() if name in KEPT}
    manifest: dict[str, Any] = {**kept, "settings": settings.model_dump(mode="json")}
    write_json(folder / "grader.json", manifest)
    return manifest


def _sources(settings: UserFunction) -> dict[str, Path]:
    """A function's files by their path from the project's root."""
    root = project_root()
    files = source_files(settings.file)
    strange = [file for file in files if not file.is_relative_to(root)]
    if strange:
        raise RecipeError(f"{strange[0]} is not in the project {root}. An installed module is exported by its own package.")
    return {file.relative_to(root).as_posix(): file for file in files} | files_read(settings.files)
