"""Graders of this project: `ratchet grader show graders.py:grade` prints how Ratchet calls one."""


def grade(prediction: str, target: str) -> float:
    """1 if the answer is the reference, else 0: the words, whatever their case and spacing. Judge as your task needs it.

    Args:
        prediction: what the policy answered.
        target: the row's reference.
    """
    return float(prediction.casefold().split() == target.casefold().split())
