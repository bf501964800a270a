"""The terms of a report are those of the glossary, and are explained where a page first uses them."""

import pytest

from ratchet.components.report.terms import TERMS, Explained
from tests.docs.test_glossary import GLOSSARY, TERM


def defined(section: str) -> dict[str, str]:
    """The definitions of a section of docs/glossary.md without their markup."""
    return {
        term: text.replace("*", "").replace("`", "")
        for term, text, _ in TERM.findall(GLOSSARY.split(f"## {section}\n")[1].split("\n## ")[0])
    }


def test_definitions_are_those_of_the_glossary() -> None:
    assert defined("For users") | defined("In reports") == TERMS


def test_a_term_is_explained_at_its_first_use_alone() -> None:
    explained = Explained()
    first, second = explained("The Champion, and champions."), explained("champion")
    assert first.count('class="term"') == 1
    assert f'data-tip="{TERMS["champion"]}"' in first
    assert ">Champion</span>, and champions." in first
    assert second == "champion"
    assert explained.definitions == [("champion", TERMS["champion"])]


@pytest.mark.parametrize("text", ["goldfish", "investigate", "a run of stages"])
def test_a_part_of_a_word_is_no_term(text: str) -> None:
    assert Explained()(text) == text


def test_what_is_between_backticks_is_code_and_nothing_is_markup() -> None:
    assert Explained()("`ratchet gate <b>` & more") == "<code>ratchet gate &lt;b&gt;</code> &amp; more"
    assert Explained()("one ` alone") == "one ` alone"
