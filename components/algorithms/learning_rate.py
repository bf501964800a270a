"""The learning rate over the steps of a training."""


def learning_rate(step: int, steps: int, warmup: int, floor: float, peak: float = 1.0) -> float:
    """The learning rate of a step: a linear rise to ``peak``, times a linear decay towards 0.

    Args:
        step: from 0.
        steps: of the whole training.
        warmup: the rise is (step + 1) / warmup, at most 1, so this many steps end it; 0 and 1 are no rise.
        floor: share of ``peak`` below which the decay does not go.
    """
    rise = min(1.0, (step + 1) / max(1, warmup))
    return peak * max(floor, 1 - step / steps) * rise  # in another order the last bits differ, and trainings do not repeat
