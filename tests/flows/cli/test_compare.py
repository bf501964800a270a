"""What ``ratchet compare`` refuses before anything is made."""

import pytest
from typer.testing import CliRunner

from ratchet.flows.cli import app


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["grpo"], "give two"),
        (["grpo", "ppo", "--algorithms", "grpo"], "either A and B, or --algorithms"),
        (["2", "3", "--seeds", "5"], "--seeds would do nothing for registered versions"),
        (["--algorithms", "grpo", "--budget", "steps=3", "--output", "a.html"], "--budget and --output would do nothing"),
    ],
)
def test_options_that_would_do_nothing_are_refused(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["compare", *arguments])
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
