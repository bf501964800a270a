"""A scorer of inspect_ai, as its evaluations use it. Here: the last line is the answer."""

from inspect_ai.scorer import CORRECT, INCORRECT, Score, Scorer, Target, accuracy, scorer
from inspect_ai.solver import TaskState


@scorer(metrics=[accuracy()])
def last_line() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        lines = state.output.completion.strip().splitlines() or [""]
        right = lines[-1].strip().casefold() == target.text.casefold()
        return Score(value=CORRECT if right else INCORRECT, answer=lines[-1], explanation=f"{len(lines)} lines")

    return score
