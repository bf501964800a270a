"""``make docs``: the site builds without a warning, and a browser that shows it asks nobody else for anything."""

import re
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

from tests.places import ROOT

LOADED = re.compile(r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?([^"'\s>]+)|<link\b[^>]*\bhref=["']?([^"'\s>]+)""")
IN_STYLE = re.compile(r"""url\(["']?(?!data:|#)([^"')]+)|@import\s+["']([^"']+)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; ``strict`` in mkdocs.yml makes a warning an error."""
    place = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(place)))
    return place


def test_every_page_of_docs_is_in_it(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert {page.as_posix() for page in pages if not (site / page).is_file()} == set()


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loaded = [
        (path.name, address)
        for path in site.rglob("*.html")
        for address in filter(None, sum(LOADED.findall(path.read_text()), ()))
    ]
    loaded += [
        (path.name, address)
        for path in site.rglob("*.css")
        for address in filter(None, sum(IN_STYLE.findall(path.read_text()), ()))
    ]
    assert len(loaded) > 50
    assert [(name, address) for name, address in loaded if re.match(r"(?:https?:)?//", address)] == []


def test_files_of_the_repository_that_a_page_links_to_are_in_it(site: Path) -> None:
    assert 'href="repository/infra/index.html"' in (site / "servers.html").read_text()
    assert "docker build" in (site / "repository" / "infra" / "index.html").read_text()


def test_a_link_names_a_page_by_its_title(site: Path) -> None:
    pages = [path for path in site.glob("*.html") if path.stem != "404"]
    assert ">Gates</a>" in (site / "check.html").read_text()
    assert [path.name for path in pages if re.search(r"<a [^>]*>[\w/]+\.md</a>", path.read_text())] == []


def test_the_index_for_language_models_leads_to_pages(site: Path) -> None:
    links = re.findall(r"\]\(([^)]+)\)", (site / "llms.txt").read_text())
    assert len(links) > 20
    assert [link for link in links if not (site / link).is_file()] == []


def test_the_index_for_language_models_is_in_the_form_of_llmstxt_org() -> None:
    text = (ROOT / "llms.txt").read_text()
    title, _, summary, *_ = text.splitlines()
    assert title.startswith("# ")
    assert summary.startswith("> ")
    assert [link for link in re.findall(r"\]\(([^)]+)\)", text) if not (ROOT / link).is_file()] == []
