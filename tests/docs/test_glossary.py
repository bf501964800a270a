"""The glossary stays small, and every term in it is one that the other documents use."""

import re

import pytest

from tests.places import ROOT

MOST_USER_TERMS = 14
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
OTHERS = "\n".join(
    path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")] if path.name != "glossary.md"
)
TERM = re.compile(r"^\| \*\*([^*]+)\*\* \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


SECTIONS = ("For users", "In reports", "In statuses, verdicts and refusals", "For readers of the code")


def terms(section: str) -> list[str]:
    return [found[0] for found in TERM.findall(GLOSSARY.split(f"## {section}\n")[1].split("\n## ")[0])]


def rows(section: str) -> int:
    """Rows of a section's table, less its header and the rule below it."""
    return len(re.findall(r"^\|", GLOSSARY.split(f"## {section}\n")[1].split("\n## ")[0], re.MULTILINE)) - 2


def test_a_user_has_few_terms_to_learn() -> None:
    assert 0 < len(terms("For users")) <= MOST_USER_TERMS


@pytest.mark.parametrize("section", SECTIONS)
def test_every_row_is_a_term(section: str) -> None:
    assert len(terms(section)) == rows(section)


def test_no_term_is_defined_twice() -> None:
    every = [term for section in SECTIONS for term in terms(section)]
    assert len(every) == len(set(every))


@pytest.mark.parametrize("term", [term for section in SECTIONS for term in terms(section)])
def test_the_other_documents_use_the_term(term: str) -> None:
    assert re.search(rf"\b{term}s?\b".replace(" ", r"\s+"), OTHERS, re.IGNORECASE)
