"""Small tables of a stranger's own leave room to train: the run gets as far as the gate, whatever the seed."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.commands import environment, ratchet
from tests.scaffold.rows import write_jsonl

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

THINGS = ("lamp", "kettle", "chair", "phone", "router", "jacket", "bicycle", "printer", "monitor", "heater")
GREETINGS = ("Hello,", "Dear support,", "Good morning,", "Hi there,", "To whom it may concern,")
ENDINGS = ("Please help.", "What now?", "Kindly reply today.", "This is the second mail.", "Thanks in advance.")
CAUSES = {
    "billing": ("I was charged twice for the", "there is a fee on the bill for the", "my refund is late for the"),
    "delivery": ("nobody brought me the", "tracking has stopped for the", "the courier kept the"),
    "repair": ("a strange noise comes from the", "smoke rises from the", "something broke off the"),
}
RECEIPTS = (
    "Receipt {number}: one {thing}, to pay {total} euros.",
    "You bought a {thing}; the total is {total} euros (ref {number}).",
    "Ref {number}. Amount due for the {thing}: {total} euros.",
)


def ticket(draw: np.random.Generator) -> dict[str, str]:
    label = str(draw.choice(list(CAUSES)))
    said = (draw.choice(GREETINGS), draw.choice(CAUSES[label]), f"{draw.choice(THINGS)} {draw.integers(1000)}.")
    return {"text": " ".join([*map(str, said), str(draw.choice(ENDINGS))]), "label": label}


def receipt(draw: np.random.Generator) -> dict[str, str]:
    number, total = int(draw.integers(100, 1000)), int(draw.integers(11, 100))
    return {
        "text": str(draw.choice(RECEIPTS)).format(number=number, thing=draw.choice(THINGS), total=total),
        "total": str(total),
    }


@pytest.mark.parametrize("row", [ticket, receipt])
def test_the_starting_policy_is_neither_hopeless_nor_perfect(
    tmp_path: Path, row: Callable[[np.random.Generator], dict[str, str]]
) -> None:
    draw = np.random.default_rng(0)
    write_jsonl(tmp_path / "rows.jsonl", [row(draw) for _ in range(600)])
    done = [
        subprocess.run(ratchet(*command), cwd=folder, env=environment(), capture_output=True, text=True, check=False)
        for folder, command in (
            (tmp_path, ["init", "own", "--data", "rows.jsonl", "--yes"]),
            (tmp_path / "own", ["reward", "validate", "--json", "--set", "data.decontaminate=null"]),
        )
    ]
    assert [one.returncode for one in done] == [0, 0], done[-1].stderr
    checks = {check["name"]: check for check in json.loads(done[-1].stdout)["reward"]["checks"]}
    assert checks["gold_signal"]["passed"] and 0.4 < checks["gold_signal"]["value"] < 0.9
