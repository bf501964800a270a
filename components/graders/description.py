"""What a user's grader is, for people and for use outside: its protocol, a call's arguments, limits, sources and digest."""

import shutil
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ratchet.components.errors import RecipeError
from ratchet.components.files import write_json
from ratchet.components.graders.build import build_grader
from ratchet.components.graders.faults import FaultError
from ratchet.components.graders.outside import user_worker
from ratchet.components.graders.protocol import Grade
from ratchet.components.graders.user_sources import source_digests, source_files
from ratchet.components.graders.worker.function import Worker
from ratchet.components.recipe import UserFunction
from ratchet.components.user_code import project_root

EXAMPLE = {
    "prompt": "What is 2 + 3?",
    "completion": "#### 5",
    "row": {"id": "example", "prompt": "What is 2 + 3?", "answer": "5"},
}


def described(settings: UserFunction, call: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What ``ratchet grader show`` prints. The function is loaded in the worker's process, and called only if there is a call.

    Args:
        call: prompt, completion and row to grade; without one, the arguments of an example are shown.

    Raises:
        RecipeError: if it cannot be loaded, or its signature fits no protocol, or several.
    """
    digest = build_grader(settings).digest
    with closing(user_worker(settings, "the function", example=call or EXAMPLE)) as worker:
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
        "sources": source_digests(settings.file),
        "digest": digest,
    }


def _graded(worker: Worker, call: Mapping[str, Any]) -> Grade:
    try:
        return worker([call["prompt"]], [call["completion"]], [call["row"]])[0]
    except FaultError as fault:
        return Grade(None, reason=str(fault), fault=fault.kind)


def export(settings: UserFunction, folder: Path) -> dict[str, Any]:
    """Write the function's sources, byte for byte, and ``grader.json`` with what they are, into a new folder.

    Returns:
        What ``grader.json`` holds: the settings, the protocol and signature, sha256 of each file, and the grader's digest.

    Raises:
        RecipeError: if the folder exists, or a source is outside of the project.
    """
    if folder.exists():
        raise RecipeError(f"{folder} exists. Name a folder that does not.")
    root = project_root()
    files = source_files(settings.file)
    strange = [file for file in files if not file.is_relative_to(root)]
    if strange:
        raise RecipeError(f"{strange[0]} is not in the project {root}. An installed module is exported by its own package.")
    facts = described(settings)
    for file in files:
        target = folder / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    kept = {key: facts[key] for key in ("file", "protocol", "signature", "digest", "sources")}
    manifest = {**kept, "settings": settings.model_dump(mode="json")}
    write_json(folder / "grader.json", manifest)
    return manifest
