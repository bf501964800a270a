"""When two rows count as the same: by NFC and white space."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence

import polars as pl

from ratchet.components.data.columns import PAIR, TEXTS
from ratchet.components.data.normal_form import normalise
from ratchet.components.data.questions import place_of, whole

CONTENT = ["id", *TEXTS]  # what distinguishes rows, in sort order


def form_of(prompt: str) -> str:
    """The hash of a prompt's normalised form, 16 hex digits."""
    return hashlib.sha256(normalise(prompt).encode()).hexdigest()[:16]


def prompt_ids(prompts: Sequence[str]) -> list[str]:
    """An id for each prompt: its place, or, if different prompts share one, the hash of its normalised form."""
    keys = [(place_of(prompt), form_of(prompt)) for prompt in prompts]
    forms = Counter(place for place, _ in set(keys))
    return [place if forms[place] == 1 else form for place, form in keys]


def with_ids(frame: pl.DataFrame) -> pl.DataFrame:
    """Add the prompt's ``id``, ``place`` and ``form``, and strip the white space around the prompt."""
    form = frame["prompt"].map_elements(form_of, return_dtype=pl.String)
    keys = pl.DataFrame({"place": places_of(frame), "form": form})
    numbers = keys.select(pl.all().str.to_integer(base=16, dtype=pl.UInt64))  # take less memory
    places = numbers.unique()["place"]
    shared = numbers["place"].is_in(places.filter(places.is_duplicated()).unique().implode())
    identity = keys.select(id=pl.when(shared).then("form").otherwise("place"))
    return frame.with_columns(pl.col("prompt").str.strip_chars(), *keys, *identity)


def places_of(frame: pl.DataFrame) -> pl.Series:
    """The place of each row: of what the task asks by fields, else of the prompt. Rows with one prompt have one place."""
    shown = frame["prompt"].map_elements(place_of, return_dtype=pl.String)
    if frame["asked"].null_count() == frame.height:
        return shown
    own = frame["asked"].map_elements(lambda text: whole(json.loads(text)), return_dtype=pl.String)
    found = pl.DataFrame({"shown": shown, "place": pl.select(pl.coalesce(own, shown)).to_series()})
    return found.select(pl.col("place").min().over("shown"))["place"]


def unique_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """One problem per prompt, and one preference per (prompt, chosen, rejected), the problems first, each in order of id.

    Of equal rows the first in canonical order stays, independent of the order and sharding of the source.
    """
    repeated = frame["id"].is_duplicated()
    keys = frame.select("id", pair=pl.col("shape") == PAIR).with_row_index("place_in_frame")
    rows = _unique(frame.with_columns(keys["place_in_frame"]).filter(repeated))["place_in_frame"]
    kept = pl.concat([keys.filter(~repeated), keys[rows]]).sort("pair", "id", maintain_order=True)
    return frame[kept["place_in_frame"]]


def _unique(frame: pl.DataFrame) -> pl.DataFrame:
    ordered = frame.sort([*CONTENT, "group", "item", "part", "file", "row"], nulls_last=True)
    problems = ordered.filter(pl.col("shape") != PAIR).unique("id", keep="first", maintain_order=True)
    pairs = ordered.filter(pl.col("shape") == PAIR)
    keys = pairs.with_columns(pl.col(c).map_elements(normalise, return_dtype=pl.String) for c in ("chosen", "rejected"))
    first = keys.unique(["id", "chosen", "rejected"], keep="first", maintain_order=True)["number"]
    return pl.concat([problems, pairs.filter(pl.col("number").is_in(first.to_list()))])
