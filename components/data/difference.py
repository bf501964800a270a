"""How two dataset versions differ: rows added, removed or changed, and how distributions changed."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from ratchet.components.data.columns import TEXTS
from ratchet.components.data.labels import final_label
from ratchet.components.errors import DataError
from ratchet.components.storage.files import read_json_lines

Tables = Mapping[str, Sequence[Mapping[str, Any]]]
Counts = Callable[[Sequence[str]], list[int]]
SEALED = "(sealed)"


@dataclass(frozen=True)
class Change:
    """A prompt, as a problem or as preferences, that was added, removed or changed; ``columns`` names what changed."""

    what: str  # came, went, changed
    kind: str  # problem, pairs
    id: str
    before: str | None  # table
    after: str | None
    columns: tuple[str, ...]
    prompt: str


def read_tables(version: Path) -> dict[str, list[dict[str, Any]]]:
    """The tables of a version's ``data/``.

    Raises:
        DataError: if there are none.
    """
    tables = {path.stem: read_json_lines(path) for path in sorted(version.glob("*.jsonl")) if path.stem != "added"}
    if not tables:
        raise DataError(f"{version} contains no tables. Run `ratchet data pull`.")
    return tables


def changes(old: Tables, new: Tables) -> list[Change]:
    """Every prompt whose rows differ, in order of what, kind and id. Prompts of sealed items are not shown."""
    before, after = _by_prompt(old), _by_prompt(new)
    found = [_change(key, before.get(key), after.get(key)) for key in before.keys() | after.keys()]
    order = ("came", "went", "changed")
    return sorted((c for c in found if c is not None), key=lambda c: (order.index(c.what), c.kind, c.id))


Rows = tuple[str, list[Mapping[str, Any]]]  # table, rows of one prompt in it


def _by_prompt(tables: Tables) -> dict[tuple[str, str], Rows]:
    """(kind, id) -> table and rows in canonical order."""
    found: dict[tuple[str, str], Rows] = {}
    for name, rows in tables.items():
        kind = "pairs" if name.startswith("pairs") else "problem"
        for row in rows:
            found.setdefault((kind, row["id"]), (name, []))[1].append(row)
    return {key: (name, sorted(rows, key=lambda r: sorted(map(str, r.items())))) for key, (name, rows) in found.items()}


def _change(key: tuple[str, str], before: Rows | None, after: Rows | None) -> Change | None:
    if before == after:
        return None
    kind, identity = key
    old, new = (before[0] if before else None), (after[0] if after else None)
    columns = _columns(before, after) if before and after else ()
    what = "changed" if before and after else "went" if before else "came"
    shown = (after or before or ("", [{"prompt": ""}]))[1][0]["prompt"]
    sealed = any(name is not None and name.startswith("sealed") for name in (old, new))
    return Change(what, kind, identity, old, new, columns, SEALED if sealed else shown)


def _columns(before: Rows, after: Rows) -> tuple[str, ...]:
    moved = ("table",) if before[0] != after[0] else ()
    if len(before[1]) != len(after[1]):
        return (*moved, "rows")
    pairs = list(zip(before[1], after[1], strict=True))
    return (*moved, *(name for name in TEXTS if any(one.get(name) != other.get(name) for one, other in pairs)))


def difference(old: Tables, new: Tables, count: Counts) -> dict[str, Any]:
    """{counts, splits, lengths, answers, rows} as JSON.

    Args:
        count: length of each text in tokens.
    """
    found = changes(old, new)
    kinds = Counter((change.kind, change.what) for change in found)
    return {
        "counts": {k: {w: kinds[k, w] for w in ("came", "went", "changed")} for k in ("problem", "pairs")},
        "splits": [
            {"table": name, "before": len(old.get(name, [])), "after": len(new.get(name, []))} for name in sorted({*old, *new})
        ],
        "lengths": [row for row in (_moved(name, old, new, count) for name in TEXTS) if row is not None],
        "answers": answers_moved(_texts(old, "answer"), _texts(new, "answer")),
        "rows": [asdict(change) for change in found],
    }


def _texts(tables: Tables, column: str) -> list[str]:
    return [row[column] for name in sorted(tables) for row in tables[name] if row.get(column) is not None]


def _moved(column: str, old: Tables, new: Tables, count: Counts) -> dict[str, Any] | None:
    before, after = count(_texts(old, column)), count(_texts(new, column))
    if not before or not after:
        return None
    return {
        "column": column,
        "before": _figures(before),
        "after": _figures(after),
        "distance": round(distance(before, after), 4),
    }


def _figures(values: Sequence[int]) -> dict[str, float]:
    ordered = sorted(values)
    places = {f"p{p}": ordered[min(len(ordered) * p // 100, len(ordered) - 1)] for p in (5, 50, 95)}
    return {"mean": round(sum(values) / len(values), 2), **places}


def distance(before: Sequence[int], after: Sequence[int]) -> float:
    """Kolmogorov-Smirnov distance of two samples: the largest gap between their shares of values up to a bound."""
    shares = []
    for values in (before, after):
        counts: dict[int, float] = defaultdict(float, {k: n / len(values) for k, n in Counter(values).items()})
        shares.append(counts)
    places = sorted({*before, *after})
    gaps = accumulate(shares[0][place] - shares[1][place] for place in places)
    return max(map(abs, gaps), default=0.0)


def answers_moved(before: Sequence[str], after: Sequence[str]) -> dict[str, Any]:
    """Distinct final answers, the total variation distance of their shares, and those whose share moved most."""
    old, new = Counter(map(final_label, before)), Counter(map(final_label, after))
    moves = {label: new[label] / max(len(after), 1) - old[label] / max(len(before), 1) for label in {*old, *new}}
    most = sorted(moves, key=lambda label: (-abs(moves[label]), label))[:10]
    return {
        "before": {"count": len(before), "distinct": len(old)},
        "after": {"count": len(after), "distinct": len(new)},
        "distance": round(sum(map(abs, moves.values())) / 2, 4),
        "moved": [{"answer": label, "before": old[label], "after": new[label]} for label in most if old[label] != new[label]],
    }
