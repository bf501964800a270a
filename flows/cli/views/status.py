"""How a project at a glance looks to a person."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ratchet.components.ledger.claims import is_here
from ratchet.components.run.progress import APPROVAL
from ratchet.components.text import visible
from ratchet.flows.cli.views.words import duration, title_of

if TYPE_CHECKING:
    from ratchet.components.inspection.overview import Overview, Running, Sealed, Slot

GIB = 2**30
PENDING = "MLflow's alias has yet to follow: `ratchet reconcile` moves it."
GOLD = {"dev": "gold on the development split, sampled, at the comparison", "mutation_score": "planted wrong answers caught"}


@contextmanager
def living() -> Iterator[Callable[[Sequence[str]], None]]:
    """A function that shows lines in place of those before."""
    from rich.live import Live
    from rich.text import Text

    from ratchet.flows.cli.views.terminal import make_console

    with Live(console=make_console(), auto_refresh=False) as live:
        yield lambda lines: live.update(Text("\n".join(lines)), refresh=True)


def lines_of(found: "Overview") -> list[str]:
    """Paragraphs with a heading each."""
    lines = ["Running", *(_running(one) for one in found.running)] if found.running else ["Nothing is running."]
    for one in found.orphans:
        lines.append(
            f"  {one.model}  process {one.process} continues to train; its run was killed. Step {one.done} of {one.total}."
        )
        lines.append("    The same command follows it; `ratchet stop RUN` lets it commit and end.")
    lines += ["", *_champions(found)]
    if found.runs:
        lines += ["", "Last runs", *(line for run in found.runs for line in _run(run))]
    if found.failures:
        lines += ["", "Failed, and no run since then ended without an error"]
        lines += [f"  {_when(one.at)}  {one.model}  {visible(one.said)}" for one in found.failures]
    if found.slots:
        lines += ["", "Next", *(_slot(slot) for slot in found.slots)]
    if found.sealed is not None:
        lines += ["", _sealed(found.sealed)]
    elif found.blocked:
        lines += ["", "Sealed test: unknown, because the ledger that counts its uses was lost."]
    elif found.unprepared is not None:
        lines += ["", f"Sealed test: unknown: {visible(found.unprepared)}"]
    if found.all_runs is not None:
        lines.append(f"All runs: {visible(found.all_runs)}")
    return [*lines, f"Disk: {found.free_bytes / GIB:,.1f} GiB free"]


def _champions(found: "Overview") -> Iterator[str]:
    if found.champions:
        yield "Champions"
    elif not found.blocked:
        yield "There is no champion yet." + ("" if found.running else " Start a run with `ratchet run`.")
    for model, champion in found.champions.items():
        yield f"  {model}  version {champion.version} since {_when(champion.at)}, by {champion.decided}"
        if model in found.pending:
            yield f"    {PENDING}"
    if found.blocked is None:
        yield "MLflow does not answer: whether it names a champion that the ledger does not know, is unknown."
    elif found.blocked:
        yield "Nothing can be promoted."
        yield from (f"  {visible(said)}" for said in found.blocked.values())


def _running(one: "Running") -> str:
    begun = f"  {one.model}  run {one.run_id[:12]}, {one.holder}, since {_when(one.started)}"
    progress = one.progress
    if progress is None:
        return f"{begun}; {'it has just begun' if is_here(one.holder) else 'its progress is known on its own machine'}"
    if progress.stage == APPROVAL:
        return f"{begun}\n    {visible(progress.note)}"
    number = f"stage {progress.number} of {progress.stages}: " if progress.number else ""
    share = f"{progress.done / progress.total:.0%}" if progress.total else "begun"
    left = f", about {duration(progress.seconds_left)} left" if progress.seconds_left is not None else ""
    said = f"{number}{title_of(progress.stage)}, {share} after {duration(progress.at - progress.since)}{left}"
    return f"{begun}\n    {said}" + (f"  ({visible(progress.note)})" if progress.note else "")


def _run(run: Mapping[str, Any]) -> Iterator[str]:
    dated = f"; `ratchet schedule` resumes it, or the same command with --slot {run['slot']}" if run.get("slot") else ""
    resumes = (dated or "; the same command resumes it") if run["finished"] is None and run["status"] != "running" else ""
    yield f"  {_when(run['started'])}  {run['status']:<14}  {run['model']}  run {run['run_id'][:12]}{resumes}"
    gold = [f"{GOLD.get(name, name)} {value:.3f}" for name, value in (run["gold"] or {}).items()]
    if run["said"] or gold:
        yield "    " + visible("  ".join(filter(None, [run["said"], f"({', '.join(gold)})" if gold else ""])))


def _slot(slot: "Slot") -> str:
    when = f"  {slot.model}  {slot.rule}" if slot.at is None else f"  {slot.model}  {_when(slot.at)}, by {slot.rule}"
    ended = "" if slot.at else "; it gives no date any more"
    return when + ended + ("" if slot.served else "; no `ratchet schedule` serves it on this machine")


def _sealed(sealed: "Sealed") -> str:
    folds = [fold for fold in sealed.folds if fold.left]
    if not folds:
        return "Sealed test: no use is left, so that no challenger can be judged. Add rows that ask something new."
    uses = "1 use" if sealed.left == 1 else f"{sealed.left} uses"
    said = f"Sealed test: {uses} left, in {len(folds)} of {len(sealed.folds)} folds"
    if (days := sealed.days_left) is not None:
        said += (
            f"; at the present pace they last {days:,.0f} days" if days >= 1.5 else "; at the present pace, for a day at most"
        )
    return f"{said}. A promotion retires its fold."


def _when(text: str) -> str:
    """``2026-11-26 02:31 UTC`` of a time in the ledger."""
    return f"{text[:10]} {text[11:16]} UTC"
