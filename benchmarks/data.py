"""How long ``ratchet data prepare`` takes, and how much memory, over the number of rows.

Usage: ``python -m benchmarks.data [--rows 300000 1000000] [--sentences 2] [--json]``

The rows are word problems of the given number of sentences, the same in every run: of 100 rows 3 are exact duplicates, 3 near
duplicates, and 1 shares a sentence with another row. Each size is prepared by the command itself, in a process and a project
of its own. With 2 sentences a million rows are about 250 MB of JSONL; with 6, a row is as long as one of GSM8K.
"""

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from benchmarks.report import Row, processor, show, versions

GOALS = {300_000: (60, 1.0), 1_000_000: (240, 2.0)}  # seconds, GB
PACKAGES = ("polars", "pandera", "rensa", "dvc")
COLUMNS = (
    *("rows", "JSONL, MB", "seconds", "CPU seconds", "peak memory, GB", "goal"),
    *("exact duplicates", "near duplicates", "overlapping", "kept", "load before"),
)
RECIPE = {"name": "many", "data": {"source": "rows.jsonl"}, "gate": {"rules": {"floor": 0.1}}}
COPIES = 200  # rows back, at most, of the row that a duplicate repeats

SYLLABLES = [start + end for start in ("b", "d", "fl", "g", "k", "l", "m", "pr", "s", "tr") for end in "aeo"]
VERBS = [
    "bakes",
    "borrows",
    "buys",
    "carries",
    "counts",
    "finds",
    "gives",
    "keeps",
    "lends",
    "makes",
    "packs",
    "picks",
    "sells",
]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
TOPICS = ["buying", "counting", "sharing", "travelling"]


def word(draws: random.Random, syllables: int) -> str:
    """A made-up word: with many of them, no two sentences agree by chance."""
    return "".join(draws.choices(SYLLABLES, k=syllables))


def sentence(draws: random.Random) -> str:
    """12 words."""
    things = f"{draws.randrange(2, 100)} {word(draws, 2)}s and {draws.randrange(2, 1_000)} {word(draws, 2)}s"
    name, place, day = word(draws, 3).title(), word(draws, 3), draws.choice(DAYS)
    return f"{name} {draws.choice(VERBS)} {things} in the {place} on {day}."


def problem(draws: random.Random, sentences: int) -> Row:
    """A row as a user's file has it: question, worked answer and three further columns."""
    first, second = draws.randrange(2, 1_000), draws.randrange(2, 1_000)
    text = " ".join(sentence(draws) for _ in range(sentences))
    work = "\n".join(f"{first} + {second + n} = {first + second + n}" for n in range(max(1, 2 * sentences - 3)))
    return {
        "question": f"{text} How many {word(draws, 2)}s are there?",
        "answer": f"{work}\n#### {first + second}",
        "topic": draws.choice(TOPICS),
        "level": draws.randrange(5),
        "source": f"book-{draws.randrange(500)}",
    }


def problems(rows: int, sentences: int, seed: int = 1) -> Iterator[Row]:
    """The rows of a benchmark, with its shares of copies."""
    draws, earlier = random.Random(seed), []  # noqa: S311 - no secret
    for _ in range(rows):
        row, kind = problem(draws, sentences), draws.randrange(100)
        if earlier and kind < 7:
            row = _copy(draws, row, draws.choice(earlier), kind)
        earlier = [*earlier[1 - COPIES :], row]
        yield row


def _copy(draws: random.Random, row: Row, earlier: Row, kind: int) -> Row:
    question = str(earlier["question"])
    if kind < 3:  # exact but for white space
        return {**earlier, "question": question.replace(" ", draws.choice([" ", "  "]), 1)}
    if kind < 6:  # another last word
        return {**earlier, "question": question.replace("are there?", "are here?")}
    return {**row, "question": f"{question.partition('.')[0]}. {row['question']}"}


def measure(rows: int, sentences: int) -> Row:
    """One preparation in a new project by the command that a user gives."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "ratchet.yaml").write_text(json.dumps(RECIPE), encoding="utf-8")
        with (place / "rows.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in problems(rows, sentences))
        command = [sys.executable, "-m", "ratchet", "data", "prepare", "--json"]
        load, before, started = os.getloadavg()[0], _used(), time.perf_counter()
        subprocess.run(command, cwd=place, stdout=subprocess.DEVNULL, check=True)
        seconds, after = time.perf_counter() - started, _used()
        size, summary = (place / "rows.jsonl").stat().st_size, json.loads((place / "data" / "summary.json").read_text())
    found = {"rows": rows, "mb": size / 1e6, "seconds": seconds, "cpu_seconds": after[0] - before[0], "peak_gb": after[1] / 1e9}
    counts = {"raw_rows": summary["raw_rows"], **summary["dropped"], "kept": sum(summary["rows"].values())}
    return {**found, "load_before": load, "counts": counts}


def _used() -> tuple[float, int]:
    """Processor seconds, and the largest resident set in bytes, of the processes that ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def _line(r: Row) -> str:
    found = (r["counts"].get(name, 0) for name in ("duplicates", "near_duplicates", "overlapping", "kept"))
    goal = "{} s, {} GB".format(*GOALS[r["rows"]]) if r["rows"] in GOALS else ""
    figures = f"{r['rows']:,} | {r['mb']:.0f} | {r['seconds']:.0f} | {r['cpu_seconds']:.0f} | {r['peak_gb']:.2f} | {goal}"
    return f"| {figures} | {' | '.join(f'{count:,}' for count in found)} | {r['load_before']:.1f} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=list(GOALS))
    parser.add_argument("--sentences", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    where = {"device": processor(), "cores": os.cpu_count(), "python": platform.python_version(), **versions(PACKAGES)}
    found = [measure(rows, given.sentences) for rows in sorted(given.rows)]  # the peak is of the largest so far
    show(found, {**where, "date": date.today().isoformat()}, COLUMNS, _line, given.json)


if __name__ == "__main__":
    main()
