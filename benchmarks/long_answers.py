"""Rows of a task with long answers, for ``ratchet compare``: running totals of seven labelled changes, a line of work each.

Usage: ``python -m benchmarks.long_answers rows.jsonl [--rows 12000] [--seed 1]``, then
``ratchet compare grpo ppo --recipe benchmarks/long_answers.yaml``

Each line of a demonstration is wrong by 1 or 2 with a probability, and the lines after it continue from the wrong total: a
policy warmed up on them makes mistakes anywhere in an answer of some fifty tokens, and its reward, for the final number, comes
at the end.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ratchet.components.randomness import stream

LABELS = "abcdefg"
LARGEST = 20  # of a total
STEP_NOISE = 0.08  # of a line of a demonstration


def changes(rng: np.random.Generator) -> tuple[int, list[int]]:
    """A start, and changes by 1 to 9 under which the total stays between 0 and ``LARGEST``."""
    total = start = int(rng.integers(1, 10))
    found = []
    for _ in LABELS:
        possible = [change for change in range(-9, 10) if change and 0 <= total + change <= LARGEST]
        found.append(int(rng.choice(possible)))
        total += found[-1]
    return start, found


def worked(start: int, steps: list[int], errors: list[int]) -> str:
    """A line per change, then ``#### N``; an error is added to its line's total, and the next line takes it from there."""
    lines, total = [], start
    for label, change, error in zip(LABELS, steps, errors, strict=True):
        result = max(0, total + change + error)
        lines.append(f"{label} {total}{change:+d}={result}")
        total = result
    return "\n".join([*lines, f"#### {total}"])


def rows(count: int, seed: int) -> Iterator[dict[str, str]]:
    """Questions with their right answer and a noisy demonstration."""
    for number in range(count):
        rng = stream(seed, "long_answers", number)
        start, steps = changes(rng)
        asked = ", ".join(f"{label} {change:+d}" for label, change in zip(LABELS, steps, strict=True))
        errors = [int(rng.choice([-2, -1, 1, 2])) if rng.random() < STEP_NOISE else 0 for _ in LABELS]
        yield {
            "question": f"Start with {start}. {asked}. What is the total?",
            "answer": worked(start, steps, [0] * len(LABELS)),
            "demonstration": worked(start, steps, errors),
        }


def main() -> None:
    """Write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    lines = [json.dumps(row) + "\n" for row in rows(arguments.rows, arguments.seed)]
    arguments.file.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
