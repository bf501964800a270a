"""Results of a gold of labels."""

from collections.abc import Sequence

from ratchet.components.records import ItemResult


def answered(
    expected: str | None, answers: Sequence[str | None], item: str = "0", cluster: str | None = None
) -> list[ItemResult]:
    """One item's samples; None is an answer without a label."""
    return [
        ItemResult(
            item, "p", str(answer), answer == expected, float(answer == expected), 10, True, 1.0,
            sample=number, answer=answer, expected=expected, cluster=cluster,
        )
        for number, answer in enumerate(answers)
    ]  # fmt: skip


def arm(expected: str, answers: str) -> dict[str, list[ItemResult]]:
    """One item a letter; a dot is an answer without a label."""
    each = zip(expected, answers, strict=True)
    return {str(n): answered(right, [None if answer == "." else answer], str(n)) for n, (right, answer) in enumerate(each)}
