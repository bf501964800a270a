"""The form in which texts are compared."""

import re
import unicodedata


def normalise(text: str) -> str:
    """The form in which two texts count as equal: NFC, one kind of line end, runs of spaces within a line collapsed.

    Case, lines, indentation and look-alike characters (``m²`` and ``m2``) distinguish texts.
    """
    if _is_plain(text):
        return text.strip()
    lines = re.sub(r"\r\n?|[\u0085\u2028\u2029]", "\n", unicodedata.normalize("NFC", text))
    # A run is looked at from its start alone: from each of its characters, a long one would take minutes.
    return re.sub(r"(?<![^\S\n])[^\S\n]+(?=\n|$)", "", re.sub(r"(?<=\S)[^\S\n]+", " ", lines)).strip()


def _is_plain(text: str) -> bool:
    """Whether only white space around a text can keep it from being normal: most texts, found much faster than by patterns."""
    return text.isascii() and text.replace("\n", "").isprintable() and "  " not in text and " \n" not in text
