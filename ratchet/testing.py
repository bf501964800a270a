"""For the tests of a project: what its gold says of answers to rows of its data."""

from ratchet.components.scaffold.judged import Judged, JudgedRow, judged_rows

__all__ = ["Judged", "JudgedRow", "judged_rows"]
