"""Sealed items, found by what they ask: an item that was published, or trained on, is known however it was asked then."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ratchet.components.data.duplicates import form_of
from ratchet.components.data.questions import Asked, UnlikeError, asked_in, keys, place_of
from ratchet.components.stages.results import DataStage
from ratchet.components.storage.table import Table

Judged = Mapping[str, Asked]  # id of an item -> what it asked; nothing for one that was judged under schema 9 of the ledger


class Item(NamedTuple):
    """A sealed item."""

    id: str
    asked: Asked
    ids: frozenset[str]  # that releases of schema 9 gave this prompt, in whichever company it stood


class Items:
    """Items to be found by their questions. Other questions are streamed through an index of these, which are few."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.items = list(items)
        self._indices: dict[tuple[str, ...], dict[tuple[str, ...], dict[str, list[str]]]] = {}
        self._by_id: dict[str, list[str]] = defaultdict(list)
        self._by_fields: dict[tuple[str, ...], list[Item]] = defaultdict(list)
        for item in self.items:
            for identity in item.ids:
                self._by_id[identity].append(item.id)
            if item.asked:
                self._by_fields[tuple(sorted(item.asked))].append(item)

    @property
    def ids(self) -> list[str]:
        return [item.id for item in self.items]

    def only(self, ids: set[str]) -> "Items":
        return Items(item for item in self.items if item.id in ids)

    def asking(self, asked: Asked) -> Iterable[str]:
        """Ids of the items with a question.

        Raises:
            UnlikeError: if that is not known: it was asked by fields of which an item has none.
        """
        index = self._index(tuple(sorted(asked)))
        return [found for own, of in index.items() for key in keys(asked, own) for found in of.get(key, ())]

    def among(self, judged: Judged) -> set[str]:
        """Ids of the items that were judged before.

        Raises:
            UnlikeError: as in :meth:`asking`.
        """
        found = {item for identity in judged for item in self._by_id.get(identity, ())}
        return found.union(*(self.asking(asked) for asked in judged.values() if asked))

    def _index(self, fields: tuple[str, ...]) -> dict[tuple[str, ...], dict[str, list[str]]]:
        if fields not in self._indices:
            found: dict[tuple[str, ...], dict[str, list[str]]] = {}
            for own, items in self._by_fields.items():
                found[own] = defaultdict(list)
                for item in items:
                    for key in keys(item.asked, fields):
                        found[own][key].append(item.id)
            self._indices[fields] = found
        return self._indices[fields]


@dataclass(frozen=True)
class Trained:
    """What training saw of a version's sealed items: the champion's, the starting policy's, and that of their ancestors."""

    items: frozenset[str] = frozenset()  # that it saw
    by: str = ""  # versions whose datasets have them outside the sealed folds
    first: bool = False  # there is no champion yet
    unknown: str | None = None  # why it cannot be told, with the remedy

    @property
    def said(self) -> str:
        """For people; empty if nothing was seen."""
        if not self.items:
            return ""
        count = f"{len(self.items):,} sealed items do not count" if len(self.items) > 1 else "1 sealed item does not count"
        return f"{count}: " + (f"training saw their questions (data of version {self.by})" if self.by else "published before")


def sealed_items(data: DataStage, folds: int) -> Mapping[str, Items]:
    """The items of each sealed fold of a version, in their order."""
    return _sealed_items(data.path, folds)


def all_of(folds: Mapping[str, Items]) -> Items:
    """The items of all folds."""
    return Items(item for items in folds.values() for item in items.items)


@lru_cache(maxsize=2)
def _sealed_items(version: Path, folds: int) -> Mapping[str, Items]:
    names = [f"sealed_{number}" for number in range(folds)]
    return {name: Items(map(_item, Table(version / "data" / f"{name}.jsonl"))) for name in names}


def _item(row: Mapping[str, object]) -> Item:
    prompt = str(row["prompt"])
    return Item(str(row["id"]), asked_in(row), frozenset({str(row["id"]), place_of(prompt), form_of(prompt)}))


def of_judged(judged: Judged) -> Items:
    """Items of which only the ledger's record is known."""
    return Items(Item(identity, asked, frozenset({identity})) for identity, asked in judged.items())


def published(items: Items, retired: Sequence[Judged]) -> set[str]:
    """Ids of the items that a retired fold had.

    Raises:
        UnlikeError: as in :meth:`Items.asking`.
    """
    return set().union(*(items.among(judged) for judged in retired))


def share(items: Items, judged: Judged, among: set[str]) -> bool:
    """Whether a fold has one of these items; also if that cannot be told, for then they may be the same."""
    try:
        return not items.among(judged).isdisjoint(among)
    except UnlikeError:
        return True
