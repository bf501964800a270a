"""What a version's manifest keeps of the task, so that the served model asks as the gate did."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ratchet.components.data.asking import templates_of
from ratchet.components.recipe import Task
from ratchet.components.storage.digests import file_digest


def served_turns(task: Task | None, digest: Callable[[str], str | None]) -> list[dict[str, Any]] | None:
    """Each turn as {role, literals, paths}: the row's fields at the paths stand between the literals.

    There are none if the rows say themselves what is asked, and None stands for templates of which a file has changed.

    Args:
        digest: sha256 of a file of the task when the data were prepared.
    """
    if task is None:
        return []
    if any(not Path(name).is_file() or file_digest(Path(name)) != digest(name) for name in task.files):
        return None
    return [
        {"role": role, "literals": list(template.literals), "paths": [list(path[1:]) for path in template.paths]}
        for role, template in templates_of(task)
    ]
