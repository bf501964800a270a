"""The kinds of ``evaluation.benchmarks``: a JSONL file of one's own, or a task of a library that is an extra."""

import re
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from ratchet.components.recipe.base import Count, Section

Text = Annotated[str, Field(min_length=1)]
TASK_FILE = re.compile(r"(?P<file>.+\.py)@(?P<name>[^@/]+)")


class LmEval(Section):
    """A task of lm-eval, answered once per item. Needs the extra ``lm-eval``."""

    kind: Literal["lm_eval"]
    task: Text  # name of a task or group
    tasks_folder: Text | None = None  # YAML tasks of your own, with all that they read; the library's are not looked at then
    limit: Count | None = None  # the first items of each task
    metric: Text | None = None  # METRIC or METRIC,FILTER as lm-eval prints them; null takes each task's first
    num_fewshot: Annotated[int, Field(ge=0)] | None = None  # null leaves it to the task


class Inspect(Section):
    """A task of inspect_ai in a file of your own, each item in ``evaluation.samples`` epochs. Needs the extra ``inspect``."""

    kind: Literal["inspect"]
    task: Text  # FILE.py@NAME
    files: list[Text] = Field(default_factory=list)  # others that the task reads: a changed one is another benchmark
    limit: Count | None = None  # samples of the task, from its beginning; null: all
    scorer: Text | None = None  # the scorer's name; null takes the first

    @field_validator("task")
    @classmethod
    def _file_and_name(cls, task: str) -> str:
        if not TASK_FILE.fullmatch(task):
            raise ValueError(f"{task!r} is not FILE.py@NAME, the file and the function with @task in it")
        return task

    @property
    def file(self) -> str:
        """Path of the file that defines the task."""
        return self.task.rpartition("@")[0]


Library = LmEval | Inspect


def _kind(value: Any) -> str:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return "file" if kind is None and not isinstance(value, dict) else str(kind)


Benchmark = Annotated[
    Annotated[str, Tag("file")] | Annotated[LmEval, Tag("lm_eval")] | Annotated[Inspect, Tag("inspect")],
    Discriminator(
        _kind,
        custom_error_type="benchmark_kind",
        custom_error_message="a benchmark is the path of a JSONL file, or a section with kind lm_eval or inspect",
    ),
]

LIBRARY_MEASURES = ("accuracy", "length", "diversity")


def missing_measure(benchmark: str | Library, measure: str) -> bool:
    """Whether no item of a benchmark could have this measure.

    Length and diversity exist if a task generates text; for lm-eval's tasks that is known only after answering.
    """
    if isinstance(benchmark, str):
        return False
    of_samples = isinstance(benchmark, Inspect) and measure.startswith("pass@")
    return not of_samples and measure not in LIBRARY_MEASURES
