"""What the process of a user's function may use."""

from typing import Annotated

from pydantic import Field

from ratchet.components.recipe.base import Count, Positive, Section


class Limits(Section):
    """Limits on the process that runs a user's function. A call that exceeds one is a fault of that call, never a zero."""

    seconds: Positive = 60.0  # per call, in real time; a function of a batch is called once per batch
    memory_mb: Annotated[int, Field(ge=16)] = 4096  # MiB beyond what importing the module takes, for all its processes together
    processes: Count = 64  # that the function has started and that still run
    output_kb: Count = 1024  # KiB that a call may print
    file_mb: Count = 1024  # MiB of any one file that it writes
