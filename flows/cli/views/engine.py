"""The ten checks of an engine, on stderr."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ratchet.flows.cli.views.reward import show, text
from ratchet.flows.cli.views.terminal import Rows

if TYPE_CHECKING:
    from ratchet.components.policy.engines.vllm.contract import Check


def show_checks(checks: "Sequence[Check]") -> None:
    """One row per check: ok, or what is wrong and the remedy."""
    states = {True: "[green]ok[/]", False: "[bold red]failed[/]"}
    show(Rows([(f"{check.number:>2}", states[check.ok], check.name, text(check.figure)) for check in checks]))
