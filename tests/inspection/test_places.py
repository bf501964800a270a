"""Files and rows in place of the ids of a finding."""

import json
from pathlib import Path

from ratchet.components.data.duplicates import place_of
from ratchet.components.inspection.places import places_of, with_places
from ratchet.components.recipe import Data, JsonLines


def test_ids_of_rows_become_their_file_and_number(tmp_path: Path) -> None:
    rows = [{"question": f"what is {n}?", "answer": str(n)} for n in range(9)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    known, unknown = place_of("what is 4?"), "0123456789abcdef"
    text = f"of 9 rows; not of {known} (no); {unknown}"
    found = places_of(Data(source=JsonLines(kind="jsonl", path=str(path))), [text])
    assert with_places(text, found) == f"of 9 rows; not of {path}, row 5 (no); {unknown}"


def test_without_ids_or_a_source_nothing_is_read(tmp_path: Path) -> None:
    data = Data(source=JsonLines(kind="jsonl", path=str(tmp_path / "none.jsonl")))
    assert places_of(data, ["worst: the empty answer"]) == {}
    assert places_of(data, [f"not of {place_of('a')}"]) == {}
