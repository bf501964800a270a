"""A deterministic source of GSM8K-format word problems, so that everything runs offline on two CPU cores.

Each problem has a question, a right worked answer that ends ``#### N``, a demonstration that is wrong for a stated share
of problems (the noise that RL has to remove), and a preference pair of a right and a near-miss answer.
"""

from collections.abc import Iterator

import numpy as np

from ratchet.components.randomness import stream

NAMES = ["Tom", "Mia", "Sam", "Ana", "Leo", "Zoe", "Max", "Eva", "Ben", "Ida", "Tim", "Amy", "Jon", "Kim", "Lea", "Roy"]
CONTAINERS = ["boxes", "bags", "jars", "trays", "packs", "crates"]
THINGS = ["pens", "cards", "coins", "shells", "stamps", "apples", "books", "beads", "stones", "plums", "cups", "nuts"]

Steps = list[tuple[int, str, int]]


def _multiply(rng: np.random.Generator, name: str, box: str, thing: str, top: int) -> tuple[str, Steps]:
    a, b = (int(v) for v in rng.integers(2, min(9, top) + 1, 2))
    return f"{name} has {a} {box} with {b} {thing} each. How many {thing} in total?", [(a, "*", b)]


def _add(rng: np.random.Generator, name: str, box: str, thing: str, top: int) -> tuple[str, Steps]:
    a, b = (int(v) for v in rng.integers(1, top + 1, 2))
    return f"{name} has {a} {thing} and gets {b} more. How many {thing} now?", [(a, "+", b)]


def _subtract(rng: np.random.Generator, name: str, box: str, thing: str, top: int) -> tuple[str, Steps]:
    b, a = sorted(int(v) for v in rng.integers(1, top + 1, 2))
    return f"{name} has {a} {thing} and gives away {b}. How many {thing} are left?", [(a, "-", b)]


def _multiply_add(rng: np.random.Generator, name: str, box: str, thing: str, top: int) -> tuple[str, Steps]:
    a, b = (int(v) for v in rng.integers(2, min(5, top) + 1, 2))
    c = int(rng.integers(1, min(10, top) + 1))
    question = f"{name} has {a} {box} with {b} {thing} each and finds {c} more. How many {thing} now?"
    return question, [(a, "*", b), (a * b, "+", c)]


TEMPLATES = [_multiply, _add, _subtract, _multiply_add]


def apply(a: int, operator: str, b: int) -> int:
    """The value of one step."""
    return {"+": a + b, "-": a - b, "*": a * b}[operator]


def worked_answer(steps: Steps, error: int = 0) -> str:
    """The worked solution, one line per step, then ``#### N``; ``error`` is added to the last step's result."""
    lines = [f"{a}{operator}{b}={apply(a, operator, b)}" for a, operator, b in steps]
    a, operator, b = steps[-1]
    result = apply(a, operator, b) + error
    lines[-1] = f"{a}{operator}{b}={result}"
    return "\n".join([*lines, f"#### {result}"])


def near_miss(rng: np.random.Generator, value: int) -> int:
    """A small non-zero error that keeps an answer that is not negative from going negative."""
    errors = [e for e in (-10, -2, -1, 1, 2, 10) if value < 0 or value + e >= 0]
    return errors[int(rng.integers(0, len(errors)))]


def generate(problems: int, max_operand: int, demo_noise: float, pair_noise: float, seed: int) -> Iterator[dict[str, str]]:
    """Yield raw rows; duplicates among them are possible, and are removed by preparation like any others.

    Args:
        problems: number of rows.
        max_operand: largest operand, at least 2.
        demo_noise: share of demonstrations that end in a near miss.
        pair_noise: share of pairs whose labels are swapped (noise in the data itself).
        seed: the data's own seed.
    """
    for number in range(problems):
        rng = stream(seed, "word_problem", number)
        template = TEMPLATES[number % len(TEMPLATES)]
        name, box, thing = rng.choice(NAMES), rng.choice(CONTAINERS), rng.choice(THINGS)
        question, steps = template(rng, str(name), str(box), str(thing), max_operand)
        value = apply(*steps[-1])
        right, wrong = worked_answer(steps), worked_answer(steps, near_miss(rng, value))
        noisy_demo = worked_answer(steps, near_miss(rng, value)) if rng.random() < demo_noise else right
        chosen, rejected = (wrong, right) if rng.random() < pair_noise else (right, wrong)
        yield {"question": question, "answer": right, "demonstration": noisy_demo, "chosen": chosen, "rejected": rejected}
