"""Whether labels carry a signal: contradictory references and pairs, and one label on nearly every row."""

from collections import defaultdict
from fractions import Fraction

import polars as pl

from ratchet.components.data.columns import PAIR, PROBLEM
from ratchet.components.data.normal_form import normalise
from ratchet.components.data.schemas import number_after_hashes, refusal
from ratchet.components.errors import DataError
from ratchet.components.recipe import Checks

OTHER_REFERENCE = "another row has a different reference for the same prompt"
FEWEST = 20  # rows below which one label on all of them may be chance


def contradictory(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows whose pair another row reverses: the same prompt, with chosen and rejected swapped."""
    paired = frame.filter(pl.col("chosen").is_not_null())
    paired = paired.filter(pl.col("id").is_duplicated())
    keys = [
        (identity, normalise(chosen), normalise(rejected))
        for identity, chosen, rejected in paired.select("id", "chosen", "rejected").iter_rows()
    ]
    known = set(keys)
    turned = [c != r and (identity, r, c) in known for identity, c, r in keys]  # never the row itself: it takes two rows
    return paired.filter(pl.Series(turned, dtype=pl.Boolean))


def contradictory_answers(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows whose prompt has a different reference in another row.

    References are compared as numbers if they end in ``#### N``, else as texts. Demonstrations are not references: a
    prompt has many good answers.
    """
    given = frame.filter((pl.col("shape") == PROBLEM) & pl.col("answer").is_not_null())
    given = given.filter(pl.col("id").is_duplicated())
    references: dict[str, set[Fraction | str]] = defaultdict(set)
    for identity, answer in given.select("id", "answer").iter_rows():
        number = number_after_hashes(answer)
        references[identity].add(final_label(answer) if number is None else number)
    return given.filter(pl.col("id").is_in([identity for identity, found in references.items() if len(found) > 1]))


def consistent_answers(frame: pl.DataFrame, checks: Checks) -> pl.DataFrame:
    """The frame without prompts that have different references, because the right one is unknown.

    Raises:
        DataError: if more than ``checks.max_bad_rows`` of the rows contradict others, each listed.
    """
    bad = contradictory_answers(frame).sort("number")
    if bad.height > checks.max_bad_rows * frame.height:
        lines = [f"{file}, row {row}: answer: {OTHER_REFERENCE}" for file, row in bad.select("file", "row").iter_rows()]
        raise DataError(f"{refusal(lines, bad.height, frame.height)} Or drop them all with data.checks.max_bad_rows.")
    return frame.filter(~pl.col("number").is_in(bad["number"].to_list())) if bad.height else frame


def consistent_pairs(frame: pl.DataFrame, checks: Checks) -> pl.DataFrame:
    """The frame without contradictory pairs, both sides of which are dropped; their problems stay.

    Raises:
        DataError: if more than ``checks.max_contradictory_pairs`` of the pairs contradict others, each listed.
    """
    bad = contradictory(frame)
    paired = frame.filter(pl.col("chosen").is_not_null()).height
    if bad.height > checks.max_contradictory_pairs * paired:
        rows = bad.sort("number").select("file", "row").iter_rows()
        lines = [f"{file}, row {row}: chosen: another row rejects it for the same prompt" for file, row in rows]
        raise DataError(refusal(lines, bad.height, paired))
    if bad.is_empty():
        return frame
    hit = pl.col("number").is_in(bad["number"].to_list())
    cut = [pl.when(hit).then(None).otherwise(pl.col(name)).alias(name) for name in ("chosen", "rejected")]
    return frame.filter(~(hit & (pl.col("shape") == PAIR))).with_columns(cut)


def check_variety(frame: pl.DataFrame, checks: Checks) -> None:
    """Reject labels that are nearly all the same.

    Raises:
        DataError: if one final answer, chosen or rejected text is on more than ``checks.max_same_label`` of the rows.
    """
    for column in ("answer", "chosen", "rejected"):
        labels = final_labels(frame[column])
        if len(labels) < FEWEST:
            continue
        label, count = labels.value_counts(sort=True).row(0)
        if count > checks.max_same_label * len(labels):
            raise DataError(
                f"{column} is {label[:80]!r} in {count} of {len(labels)} rows, which teaches nothing. "
                "Correct the labels, or raise data.checks.max_same_label."
            )


def final_labels(texts: pl.Series) -> pl.Series:
    """The final label of each text that is not null, named ``label``."""
    return texts.drop_nulls().map_elements(final_label, return_dtype=pl.String).rename("label")


def final_label(text: str) -> str:
    """The final answer of a label: the number after ``####``, else the whole text."""
    _, found, number = text.rpartition("####")
    return number.strip() if found else normalise(text)
