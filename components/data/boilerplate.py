"""Words that many prompts share and that do not distinguish them: instructions, system prompts, chat templates.

Words that many prompts have in common are boilerplate if the prompts differ next to them: after an instruction come
as many questions as there are rows. Prompts that really are near duplicates do not diverge at any one place, so that none of
their words is boilerplate.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

SHARE, FEWEST = 0.03, 20  # words in more prompts than both of these are shared by many
LEAVE = 0.2  # at least this share of the prompts that share words must not continue in the most common way

LENGTH = 5  # words of boilerplate in the middle of a text; at its ends it may have fewer

Words = Sequence[str]


class Part(NamedTuple):
    """Consecutive words of a prompt, all boilerplate or all specific to it."""

    boilerplate: bool
    words: tuple[str, ...]


def divided(texts: Sequence[Words]) -> list[list[Part]]:
    """Each text as [beginning, own words and boilerplate between them, end]; beginning and end are boilerplate, empty in most.

    The words between beginning and end are the same with and without an instruction.
    """
    least = max(FEWEST, int(SHARE * len(texts)))
    starts = _beginnings(texts, least)
    ends = [len(text) - end for text, end in zip(texts, _beginnings([text[::-1] for text in texts], least), strict=True)]
    whole = [start >= end for start, end in zip(starts, ends, strict=True)]  # only boilerplate: treat all of it as specific
    spans = [(0, len(t)) if w else (s, e) for t, w, s, e in zip(texts, whole, starts, ends, strict=True)]
    middles = _middles([text[start:end] for text, (start, end) in zip(texts, spans, strict=True)], least)
    return [
        [Part(True, tuple(text[:start])), *middle, Part(True, tuple(text[end:]))]
        for text, (start, end), middle in zip(texts, spans, middles, strict=True)
    ]


def _beginnings(texts: Sequence[Words], least: int) -> list[int]:
    """How many of each text's first words are boilerplate: the longest shared prefix that many texts continue differently."""
    lengths = [0] * len(texts)
    waiting: list[tuple[int, Sequence[int]]] = [(0, range(len(texts)))]
    while waiting:
        depth, members = waiting.pop()
        branches = defaultdict(list)
        for member in members:
            branches[texts[member][depth] if depth < len(texts[member]) else None].append(member)
        if depth and _differ(len(members), max(map(len, branches.values()))):
            for member in members:
                lengths[member] = depth
        waiting += [(depth + 1, branch) for word, branch in branches.items() if word is not None and len(branch) > least]
    return lengths


def _differ(members: int, largest: int) -> bool:
    return members - largest >= LEAVE * members


def _middles(texts: Sequence[Words], least: int) -> list[list[Part]]:
    """Each text as its own words, and boilerplate of at least LENGTH words between them."""
    runs = [[hash(tuple(text[n : n + LENGTH])) for n in range(len(text) - LENGTH + 1)] for text in texts]
    counts = Counter(run for own in runs for run in set(own))
    common = {run for run, count in counts.items() if count > least}
    bounded = [[None, *text, None] for text in texts]
    opening, closing = (
        _leaving(common, ((run, t[n + step]) for t, own in zip(bounded, runs, strict=True) for n, run in enumerate(own)))
        for step in (0, LENGTH + 1)
    )
    return [_parts(text, _blocks(own, common, opening, closing)) for text, own in zip(texts, runs, strict=True)]


def _leaving(common: Collection[int], neighbours: Iterable[tuple[int, str | None]]) -> set[int]:
    """The common runs that have different words next to them."""
    found: dict[int, Counter[str | None]] = defaultdict(Counter)
    for run, word in neighbours:
        if run in common:
            found[run][word] += 1
    return {run for run, words in found.items() if _differ(words.total(), max(words.values()))}


def _blocks(
    runs: Sequence[int], common: Collection[int], opening: Collection[int], closing: Collection[int]
) -> Iterator[range]:
    """Positions of words, from a run that opens boilerplate to the last one that closes it with only common runs in between."""
    place = 0
    while place < len(runs):
        if runs[place] not in opening:
            place += 1
            continue
        stop = next((n for n in range(place, len(runs)) if runs[n] not in common), len(runs))
        closes = [n for n in range(place, stop) if runs[n] in closing]
        if closes:
            yield range(place, closes[-1] + LENGTH)
        place = stop


def _parts(text: Words, blocks: Iterable[range]) -> list[Part]:
    taken = {place for block in blocks for place in block}
    if len(taken) == len(text):
        return [Part(False, tuple(text))]
    grouped = groupby(enumerate(text), key=lambda numbered: numbered[0] in taken)
    return [Part(shared, tuple(word for _, word in words)) for shared, words in grouped]
