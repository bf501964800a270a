"""The steps in the names of checkpoints and of the files beside them, such as ``step_000020`` and ``step_000020.json``."""

from pathlib import Path


def step_of(path: Path) -> int:
    """The step of a checkpoint, or of a file of figures or samples."""
    return int(path.name.removeprefix("step_").removesuffix(".json"))


def in_order(folder: Path, pattern: str = "step_*") -> list[Path]:
    """Those in a folder, by step. Not by name: step_1000000 would come before step_999990."""
    return sorted(folder.glob(pattern), key=step_of)
