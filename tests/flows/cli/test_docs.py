"""``ratchet docs``, over a folder of two pages and over the real one."""

import json
from pathlib import Path

import pytest

from ratchet.components.errors import RecipeError
from ratchet.flows.cli import docs as module
from tests.places import ROOT


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "examples").mkdir()
    (tmp_path / "gates.md").write_text("---\nhide: [toc]\n---\n# The gate\n\nA test.\n", encoding="utf-8")
    (tmp_path / "examples" / "replies.md").write_text("# Replies\n", encoding="utf-8")
    (tmp_path / "gates.svg").write_text("<svg/>", encoding="utf-8")
    monkeypatch.setattr(module, "folder", lambda: tmp_path)
    return tmp_path


@pytest.mark.usefixtures("two")
def test_it_lists_pages_with_their_headings(capsys: pytest.CaptureFixture[str]) -> None:
    module.docs()
    assert capsys.readouterr().out == "examples/replies  Replies\ngates             The gate\n"


def test_json_has_the_file_of_a_page(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gates = {"page": "gates", "title": "The gate", "file": str(two / "gates.md")}
    module.docs(json_output=True)
    assert json.loads(capsys.readouterr().out)[1] == gates
    module.docs("gates", json_output=True)
    assert json.loads(capsys.readouterr().out) == gates


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("name", ["gates", "gates.md", "docs/gates.md", "docs/gates.md#levels"])
def test_a_page_is_printed_by_its_name_or_as_a_message_names_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module.docs(name)
    assert capsys.readouterr().out.endswith("# The gate\n\nA test.\n")


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("name", "remedy"),
    [("gate", r"Did you mean gates\? `ratchet docs` lists all"), ("../secret", r"page '../secret'. `ratchet docs` lists all")],
)
def test_another_name_is_refused(name: str, remedy: str) -> None:
    with pytest.raises(RecipeError, match=remedy):
        module.docs(name)


def test_a_clone_has_its_pages_beside_the_package() -> None:
    assert module.pages(module.folder())["examples/preference"].samefile(ROOT / "docs" / "examples" / "preference.md")
