"""The section ``limits``: when a run ends early. It can be resumed, and its result does not depend on them."""

from ratchet.components.recipe.base import Count, Positive, Section


class RunLimits(Section):
    """Limits of a run. One that reaches ``hours`` or ``samples`` commits a checkpoint, and ends with the status ``stopped``."""

    hours: Positive | None = None  # hours of one invocation, from its start; a resumed run has them again
    samples: Count | None = None  # completions drawn in training, over all invocations; checked between steps
    phase_hours: Positive | None = 2.0  # hours of one phase of a training step, after which the run fails; null: no limit
    silence_seconds: Positive = 60.0  # without a sign of life, after which a rank is lost; on another machine five times that
