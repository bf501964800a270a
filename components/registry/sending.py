"""A journal's records as requests to MLflow, in their order. One that is sent twice is in MLflow once."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from ratchet.components.faults import point
from ratchet.components.registry.journal import Journal, Record, Sent
from ratchet.components.registry.outage import is_rejection
from ratchet.components.text import redacted

if TYPE_CHECKING:
    from ratchet.components.registry.runs import Tracker

OPEN, START, STAGE, METRICS, TABLE, TAGS = "open", "start", "stage", "metrics", "table", "tags"
END, KILLED = "end", "killed"
LACKING = "lacking"  # figures, as far as MLflow does not have them
NEEDED = (OPEN, START)  # by what follows them
MERGED = 200  # records of figures that become one request

Open = Callable[[str], "Tracker"]  # the tracker of a model
Named = Callable[[str, str, str], None]  # identity, the id that the ledger has, the id in MLflow
Batch = list[tuple[Record, int]]


def send(
    journal: Journal, trackers: Open, named: Named, say: Callable[[str], None], answered: Callable[[], None] = lambda: None
) -> int:
    """Send what MLflow does not have; returns the number of records.

    A record that MLflow refuses for what it says (its run was deleted by hand, a value is too long) is skipped and reported.

    Args:
        named: called when MLflow has opened a run; the ledger must know its id before anything refers to it.
        answered: called after each request that MLflow has carried out.

    Raises:
        BusyError: if another process or thread sends this journal.
        Exception: what MLflow's client raises; records sent before it are not sent again.
    """
    with journal.sending():
        before = sent = journal.sent()
        for batch in batches(journal.unsent()):
            try:
                sent = _apply(sent, batch, trackers, named)
            except Exception as error:
                if not is_rejection(error) or batch[0][0].kind in NEEDED:
                    raise
                _one_by_one(sent, batch, trackers, say)
            record, end = batch[-1]
            point(f"journal:sent:{record.kind}")
            sent = replace(sent, number=record.number, offset=end)
            journal.mark(sent)
            answered()
        return sent.number - before.number


def _one_by_one(sent: Sent, batch: Batch, trackers: Open, say: Callable[[str], None]) -> None:
    """The records of a batch that MLflow refused, without those for which it did."""
    for record, _ in batch:
        try:
            _apply(sent, [(record, 0)], trackers, lambda *_: None)
        except Exception as error:
            if not is_rejection(error):
                raise
            what = record.values.get("stage") or "the run"
            say(f"MLflow refused {record.kind} of {what}, which are left out: {redacted(str(error))[:300]}")


def batches(records: Iterator[tuple[Record, int]]) -> Iterator[Batch]:
    """Records in order; consecutive figures of one run together."""
    for (kind, _), group in groupby(records, key=lambda one: (one[0].kind, one[0].values.get("stage"))):
        whole = list(group)
        size = MERGED if kind == METRICS else 1
        yield from (whole[start : start + size] for start in range(0, len(whole), size))


def _apply(sent: Sent, batch: Batch, trackers: Open, named: Named) -> Sent:
    record = batch[0][0]
    values = record.values
    if record.kind == OPEN:
        return _opened(record, trackers(values["model"]), named)
    tracker = trackers(sent.model or values["model"])
    if record.kind == KILLED:
        tracker.close_killed(sent.run_id or values["run_id"], values["reason"], record.at)
        return sent
    assert sent.run_id is not None
    if record.kind == START:
        child = tracker.child(sent.run_id, values["stage"], record.at)
        return replace(sent, children={**sent.children, values["stage"]: child})
    if record.kind == STAGE:
        _finished(tracker, sent, record)
        return sent
    _log(tracker, _target(tracker, sent, values["stage"]), [one for one, _ in batch])
    return sent


def _opened(record: Record, tracker: "Tracker", named: Named) -> Sent:
    """Open the parent run. Its identity's earlier runs in this journal are over."""
    values = record.values
    run_id = tracker.open_run(values["name"], values["tags"], values["run_id"], started=record.at)
    named(values["identity"], values["run_id"], run_id)
    tracker.params(run_id, values["params"])
    tracker.describe_experiment()
    return Sent(model=values["model"], run_id=run_id)


def _finished(tracker: "Tracker", sent: Sent, record: Record) -> None:
    """What is known of a finished stage: in the child run that followed its making, else in one that begins and ends here."""
    values, stage = record.values, record.values["stage"]
    tags, began, parent = values["tags"], values["began"], sent.run_id
    assert parent is not None
    child = sent.children.get(stage)
    followed = child is not None
    if values["cached"]:
        child, followed = tracker.cached_child(parent, stage, tags, began), False
    elif child is None:
        child = tracker.child(parent, stage, began)
    if child is None:
        return
    tracker.facts(child, tags, values["params"], values["figures"], record.at)
    if not followed:
        tracker.close_run(child, "FINISHED", record.at)


def _target(tracker: "Tracker", sent: Sent, stage: str | None) -> str:
    assert sent.run_id is not None
    if stage is None:
        return sent.run_id
    return sent.children.get(stage) or tracker.child(sent.run_id, stage)


def _log(tracker: "Tracker", run_id: str, records: list[Record]) -> None:
    first = records[0]
    values: Any = first.values
    match first.kind:
        case "metrics":
            tracker.timed(run_id, [(one.at, step, figures) for one in records for step, figures in one.values["points"]])
        case "lacking":
            tracker.timed(run_id, tracker.lacking(run_id, [(first.at, step, figures) for step, figures in values["points"]]))
        case "table":
            tracker.table(run_id, values["rows"], values["name"])
        case "tags":
            tracker.tags(run_id, values["tags"])
        case "end":
            if values["stage"] is None:
                tracker.close_children(run_id, values["status"], first.at)
            tracker.close_run(run_id, values["status"], first.at)
        case kind:
            raise AssertionError(kind)
