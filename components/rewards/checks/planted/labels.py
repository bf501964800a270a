"""Planted wrong answers to a classification: the other labels of the set, alone and around the right one."""

from collections.abc import Callable, Sequence

from ratchet.components.rewards.checks.planted.texts import Case, Plant

Written = Callable[[str], str]  # a label as a completion says it


def plants(labels: Sequence[str], read: Callable[[str], str | None], written: Written) -> dict[str, Plant]:
    """Wrong answers by name.

    Args:
        read: the label that a completion names.
    """

    def other(cases: Sequence[Case]) -> list[str | None]:
        return [written(label) if (label := _other(case, place)) else None for place, case in enumerate(cases)]

    def both(cases: Sequence[Case]) -> list[str | None]:
        answers: list[str | None] = []
        for place, case in enumerate(cases):
            own, label = read(case.reference), _other(case, place)
            answers.append(written(f"{label}\n{own}\n{label}") if own and label else None)
        return answers

    def _other(case: Case, place: int) -> str | None:
        own = read(case.reference)
        others = [label for label in labels if label != own]
        return others[place % len(others)] if own else None

    return {"another label of the set": other, "the right label between others": both}
