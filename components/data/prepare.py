"""Clean, check, dedupe, split and decontaminate raw rows into the tables of a dataset version.

The tables are JSONL in canonical order, so that equal content gives equal bytes and so an equal version:

    train, dev, guard            {id, prompt, answer, demonstration}, and item, group, messages and asked where there are such
    sealed_0 ... sealed_{F-1}    the same; reserve folds that only the gate reads
    pairs_train, pairs_heldout   {id, prompt, answer, chosen, rejected}, likewise
    added                        rows added to the source's, exactly as given; only if there are any
    summary.json                 counts after each step
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from ratchet.components.data.characters import odd_text, special_tokens
from ratchet.components.data.columns import Lacking, content, stored
from ratchet.components.data.contamination import Overlap, overlaps, refuse, without
from ratchet.components.data.distinct import with_distinct_ids
from ratchet.components.data.duplicates import unique_rows, with_ids
from ratchet.components.data.journal import EXAMPLES, LISTED, MANY, Journal, profile
from ratchet.components.data.kept import Items
from ratchet.components.data.labels import OTHER_REFERENCE, check_variety, consistent_answers, consistent_pairs
from ratchet.components.data.lengths import limit_lengths
from ratchet.components.data.near_duplicates import near_duplicates
from ratchet.components.data.questions import asked_by
from ratchet.components.data.schemas import BATCH, Checked, check_rows, raw_frame, refusal
from ratchet.components.data.sources import read_file, read_rows, weigh
from ratchet.components.data.splits import TRAINED_ON, check_groups, check_tables, split_tables, with_tables
from ratchet.components.errors import DataError
from ratchet.components.recipe import PAIR_COLUMNS, PROBLEM_COLUMNS, Data, parts
from ratchet.components.storage.files import write_json, write_json_lines

ADDED = "added"

Row = dict[str, Any]


class Prepared(NamedTuple):
    """The output of preparation: the version's ``summary.json`` and the facts of its report."""

    summary: dict[str, Any]
    facts: dict[str, Any]


def prepare(data: Data, target: Path, added: Sequence[Row] = (), configuration: str | None = None) -> Prepared:
    """Build a dataset version in ``target`` (an existing, empty directory).

    Args:
        added: raw rows in addition to the source's.
        configuration: digest of the recipe's data section; written into a version with added rows, because the recipe alone
            does not identify such a version.

    Raises:
        DataError: if rows fail their checks or a split that is needed is empty.
    """
    journal = Journal(data.split, 0)
    # No step's frame has a name here: it would stay in memory during the next steps.
    tables = make_tables(clean(checked_rows(data, added, journal), data, journal), data, journal)
    check_tables(tables, journal.taken())
    further = {
        "item": bool(journal.notes["columns"]),
        "group": data.group is not None,
        "messages": journal.notes.pop("messages"),
        "asked": bool(journal.notes["asked"]),
    }
    tables = with_columns(tables, [name for name, present in further.items() if present])
    summary = write_version(tables, target, journal)
    if added:
        summary |= {"added_rows": write_added(added, target), "recipe_data": configuration}
    write_json(target / "summary.json", summary)
    told = {"steps": journal.steps, "warnings": journal.warnings, "raw_rows": journal.rows}
    return Prepared(summary, {**profile(tables, data.length), **journal.notes, **told})


def checked_rows(data: Data, added: Sequence[Row], journal: Journal) -> pl.DataFrame:
    """The rows of the source, and those added, that pass the checks."""
    items = Items(data)
    raw = raw_frame(_with_nested(items.texts(chain(read_rows(data), _asked_today(data, added)))))
    frame, journal.notes["columns"], journal.warnings = items.kept(raw.frame)
    journal.rows = frame.height
    journal.notes["messages"] = frame["messages"].null_count() < frame.height
    journal.notes["asked"] = _fields(frame["asked"])
    checked = check_rows(raw._replace(frame=frame), data.checks)
    note_failures(journal, checked)
    return checked.frame


def _with_nested(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows with their messages, and with what they ask, as JSON."""
    for row in rows:
        nested = {name: row[name] for name in ("messages", "asked") if row.get(name) is not None}
        yield {**row, **{name: json.dumps(value, ensure_ascii=False) for name, value in nested.items()}} if nested else row


def _asked_today(data: Data, added: Iterable[Row]) -> Iterator[Row]:
    """The added rows with what they ask by the fields that the task reads today, so that they stand where the source's do."""
    asked = asked_by(data.task)
    for row in added:
        today = asked(row.get("item") or {})
        yield row if today is None else {**row, "asked": today}


def _fields(asked: pl.Series) -> list[str]:
    """The fields by which rows are asked."""
    return sorted({name for text in asked.drop_nulls().head(1) for name in json.loads(text)})


def note_failures(journal: Journal, checked: Checked) -> None:
    """Record rows that failed their checks and were dropped, as the recipe allows."""
    bad = len({failure.number for failure in checked.failures})
    examples = [{"file": f.file, "row": f.row, "text": "", "why": f"{f.column}: {f.reason}"} for f in checked.failures]
    journal.count("bad_rows", "rows that fail a check", journal.rows, bad, examples[:LISTED])
    if bad > MANY * journal.rows:
        journal.warnings.append(
            f"rows that fail a check: {bad:,} of {journal.rows:,} were dropped. Correct them in the source."
        )


def clean(frame: pl.DataFrame, data: Data, journal: Journal) -> pl.DataFrame:
    """Rows with ``id`` and ``place``, without odd, long, duplicate and contradictory ones, mixed by weight.

    The order matters. Prompts are truncated before they get their ids, because truncation changes them. Contradictions come
    before duplicates, or one of two references would seem the only one. Weights come last, on the remaining rows.
    """
    frame = _without_odd_text(frame, data, journal)
    frame = _without_long_rows(frame, data, journal)
    frame = with_tables(with_ids(frame), data.split)
    check_groups(frame)
    frame = with_distinct_ids(frame, data.distinct, journal)
    # Each step gives another frame: of a large dataset only two are in memory at once.
    before, frame = frame, consistent_answers(frame, data.checks)
    journal.drop("contradictory_answers", "contradictory references", before, frame, OTHER_REFERENCE, LISTED)
    before, frame = frame, unique_rows(frame)
    journal.drop("duplicates", "exact duplicates", before, frame, "the same prompt, or the same preference, already exists")
    before, frame = frame, consistent_pairs(frame, data.checks)
    journal.drop("contradictory_pairs", "contradictory pairs", before, frame, "another row prefers the other text")
    del before
    frame = _without_near_duplicates(frame, data, journal)
    before, frame = frame, weigh(frame, [part.weight for part in parts(data.source)])
    journal.drop("left_out_by_weight", "left out by the weights of the mix", before, frame, "exceeds the weight of its source")
    check_variety(frame, data.checks)
    return frame


def _without_odd_text(frame: pl.DataFrame, data: Data, journal: Journal) -> pl.DataFrame:
    found, names = odd_text(frame, data.checks.scripts), special_tokens(frame)
    journal.notes["odd"] = [list(finding[1:]) for finding in found[:LISTED]]
    journal.notes["odd_rows"] = len({finding.number for finding in found})
    journal.notes["special_token_rows"] = len({finding.number for finding in names})
    bad = {finding.number: finding for finding in found}
    if found and data.checks.odd_text == "refuse":
        raise DataError(refusal(found, len(bad), frame.height) + " Or set data.checks.odd_text=keep.")
    kept = frame.filter(~pl.col("number").is_in(sorted(bad))) if found and data.checks.odd_text == "drop" else frame
    if kept.is_empty():
        raise DataError("every row contains odd text. Correct the source's encoding, or set data.checks.odd_text=keep.")
    journal.drop("odd_text", "odd characters", frame, kept, lambda row: bad[row["number"]].reason)
    if found and kept.height == frame.height:
        firsts = list({finding.number: finding for finding in reversed(found)}.values())[::-1]
        examples = [{"file": f.file, "row": f.row, "text": "", "why": f"{f.column}: {f.reason}"} for f in firsts[:EXAMPLES]]
        journal.steps[-1] |= {"kept": len(bad), "examples": examples}
    return kept


def _without_long_rows(frame: pl.DataFrame, data: Data, journal: Journal) -> pl.DataFrame:
    short = frame.filter(pl.col("prompt").str.len_chars() <= data.max_prompt_chars)
    journal.drop("too_long", "longer than max_prompt_chars", frame, short, lambda r: f"{len(r['prompt'])} characters")
    limited = limit_lengths(short, data.length)
    journal.drop("too_many_tokens", "more tokens than data.length allows", short, limited.frame, "too many tokens")
    journal.notes["truncated"] = limited.truncated
    return limited.frame


def _without_near_duplicates(frame: pl.DataFrame, data: Data, journal: Journal) -> pl.DataFrame:
    rule = data.near_duplicate_rule
    if rule is None:
        return frame
    compared = frame.select("id", "prompt", "form", "table")  # rows that data.distinct tells apart are no duplicates
    firsts = compared.unique("form", keep="first", maintain_order=True)
    # A prompt's table is a hash of the prompt alone, so it is known before the split: evaluation rows stay.
    trained_on = pl.col("table").is_in(TRAINED_ON).cast(pl.Int8)
    pairs = {pair.dropped: pair for pair in near_duplicates(firsts.select("id", "prompt", priority=trained_on), rule)}
    alike = firsts.filter(pl.col("id").is_in(list(pairs))).select("form", "id").iter_rows()
    found = {form: pairs[identity] for form, identity in alike}
    kept = frame.filter(~pl.col("form").is_in(list(found)))
    journal.drop(
        "near_duplicates",
        f"near duplicates (similarity {rule.similarity:g} of {rule.words}-word sequences)",
        frame,
        kept,
        lambda row: f"similarity {found[row['form']].similarity:.2f} to {found[row['form']].kept}",
    )
    return kept


def make_tables(frame: pl.DataFrame, data: Data, journal: Journal) -> dict[str, pl.DataFrame]:
    """The tables of clean rows, decontaminated according to the recipe."""
    tables, unused = split_tables(frame, data.split)
    journal.count("unused_pairs", "preferences of evaluation prompts", frame.height, unused)
    rule = data.decontamination_rule
    if rule is None:
        return tables
    found = overlaps(tables, {path: _benchmark(data, path) for path in rule.benchmarks}, rule)
    refuse(found, rule)
    left = without(tables, found)
    before, after = (sum(rows.height for rows in t.values()) for t in (tables, left))
    journal.count("overlapping", f"share {rule.words} words with evaluated rows", before, before - after, _shown(found, tables))
    journal.notes["overlap"] = _overlap_counts(found)
    trained_on = [sum(kept[name].height for name in TRAINED_ON) for kept in (tables, left)]
    journal.watch("overlapping", "overlap with evaluated rows", trained_on[0], trained_on[0] - trained_on[1])
    return left


def _benchmark(data: Data, path: str) -> list[str]:
    prompts = []
    for row in read_file(data, path):
        if not isinstance(row["prompt"], str):
            why = row["prompt"].reason if isinstance(row["prompt"], Lacking) else "no prompt"
            raise DataError(f"{row['file']}, row {row['row']}: {why}. Correct data.decontaminate.benchmarks.")
        prompts.append(row["prompt"])
    return prompts


def _shown(found: Sequence[Overlap], tables: Mapping[str, pl.DataFrame]) -> list[Row]:
    first = [overlap.id for overlap in found[:5]]
    shown = pl.concat(tables[name].filter(pl.col("id").is_in(first)) for name in TRAINED_ON)
    rows = {row["id"]: row for row in shown.iter_rows(named=True)}
    return [
        {"file": row["file"], "row": row["row"], "text": row["prompt"], "why": f"shares words with {overlap.other}"}
        for overlap, row in ((overlap, rows[overlap.id]) for overlap in found[:5])
    ]


def _overlap_counts(found: Sequence[Overlap]) -> list[list[Any]]:
    places = Counter((overlap.table, overlap.other) for overlap in found)
    return [[*place, places[place]] for place in sorted(places)]


def with_columns(tables: Mapping[str, pl.DataFrame], further: Sequence[str] = ()) -> dict[str, pl.DataFrame]:
    """The tables with the columns to write.

    Args:
        further: of ``item``, ``group``, ``messages`` and ``asked`` those that the version has.
    """
    return {
        name: rows.select(*(PAIR_COLUMNS if name.startswith("pairs") else PROBLEM_COLUMNS), *further)
        for name, rows in tables.items()
    }


def write_version(tables: Mapping[str, pl.DataFrame], target: Path, journal: Journal) -> dict[str, Any]:
    """Write each table; returns the summary."""
    for name, rows in tables.items():
        write_json_lines(target / f"{name}.jsonl", _records(rows))
    summary = {
        "raw_rows": journal.rows,
        "dropped": journal.dropped(),
        "rows": {name: rows.height for name, rows in tables.items()},
    }
    optional = {name: journal.notes.get(name) for name in ("truncated", "columns", "asked")} | {"warnings": journal.warnings}
    return summary | {name: value for name, value in optional.items() if value}


def _records(rows: pl.DataFrame) -> Iterator[Row]:
    nested = [name for name in ("item", "messages", "asked") if name in rows.columns]
    for some in rows.iter_slices(BATCH):
        for row in some.iter_rows(named=True):
            yield row | {name: json.loads(row[name] or "null") for name in nested}


def write_added(added: Sequence[Row], target: Path) -> int:
    """Write added rows in canonical order, each once; returns their number."""
    unique = {content(row): row for row in added}
    write_json_lines(target / f"{ADDED}.jsonl", [stored(unique[key]) for key in sorted(unique)])
    return len(unique)
