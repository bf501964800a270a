"""Where a source has the rows that a finding names by their ids."""

import re
from collections.abc import Iterable
from contextlib import suppress

from ratchet.components.data.duplicates import form_of
from ratchet.components.data.questions import asked_in, whole
from ratchet.components.data.sources import read_rows
from ratchet.components.errors import DataError
from ratchet.components.recipe import Data

ID = re.compile(r"\b[0-9a-f]{16}\b")


def places_of(data: Data, texts: Iterable[str]) -> dict[str, str]:
    """File and row of the ids in some texts; reads the source up to the last of them.

    Rows that were added, or whose prompts were cut or stand in several rows that ``data.distinct`` tells apart, are not found.
    """
    wanted = {identity for text in texts for identity in ID.findall(text)}
    found: dict[str, str] = {}
    with suppress(DataError):  # these rows were read already: what is wrong now is for the next preparation to say
        rows = iter(read_rows(data)) if wanted else iter(())
        while wanted and (row := next(rows, None)) is not None:
            prompt = row["prompt"]
            for identity in wanted & ({whole(asked_in(row)), form_of(prompt)} if isinstance(prompt, str) else set()):
                found[identity] = f"{row['file']}, row {row['row']}"
                wanted.remove(identity)
    return found


def with_places(text: str, places: dict[str, str]) -> str:
    """The text with files and rows in place of the ids that are known."""
    return ID.sub(lambda match: places.get(match[0], match[0]), text)
