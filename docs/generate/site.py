"""MkDocs hook: what the pages of docs/ link to outside of docs/ becomes part of the site, so that it needs no repository.

A Markdown file becomes a page, another text a page with its content as code. Their own links are followed.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(\]\(|\b(?:href|src|srcset)=\")(?![a-z]+:|#)([^)#\s\"]+)")
NAMED = re.compile(r"\[[\w/]+\.md\]\((?![a-z]+:)([^)#\s]+\.md)")  # a page by the name of its file
PREFIX = "repository/"
INDEX = "llms.txt"  # for language models (llmstxt.org): at the root of the repository, and of the site


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every file of the repository that a page leads to."""
    index = (ROOT / INDEX).read_text(encoding="utf-8")
    waiting = [(f"docs/{file.src_uri}", file.content_string) for file in files.documentation_pages()] + [(INDEX, index)]
    known: set[str] = set()
    while waiting:
        path, text = waiting.pop()
        for target in _outside(path, text):
            if target not in known:
                known.add(target)
                page = _page(target)
                files.append(_added(config, PREFIX + _page_name(target), page))
                waiting.append((target, page if target.endswith(".md") else ""))
    files.append(_added(config, INDEX, LINK.sub(lambda found: found[1] + _address(found[2]), index)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Links lead to where their targets are in the site. The name of a page's file becomes the page's title."""
    place = page.file.src_uri
    own = place.removeprefix(PREFIX) if place.startswith(PREFIX) else f"docs/{place}"

    def moved(found: re.Match[str]) -> str:
        target = _resolved(own, found[2])
        site = target.removeprefix("docs/") if target.startswith("docs/") else PREFIX + _page_name(target)
        return found[1] + posixpath.relpath(site, posixpath.dirname(place) or ".")

    def titled(found: re.Match[str]) -> str:
        title = (ROOT / _resolved(own, found[1])).read_text(encoding="utf-8").split("# ", 1)[1].partition("\n")[0]
        return f"[{title}]({found[1]}"

    return LINK.sub(moved, NAMED.sub(titled, markdown))


def _added(config: MkDocsConfig, place: str, text: str) -> File:
    return File.generated(config, place, content=text, inclusion=InclusionLevel.NOT_IN_NAV)


def _address(target: str) -> str:
    """Where a file of the repository is in the site."""
    page = target.removeprefix("docs/") if target.startswith("docs/") else PREFIX + _page_name(target)
    return page.removesuffix("README.md").removesuffix(".md") + ("index.html" if page.endswith("README.md") else ".html")


def _outside(path: str, text: str) -> Iterator[str]:
    for _, link in LINK.findall(text):
        target = _resolved(path, link)
        if not target.startswith("docs/"):
            yield target


def _resolved(path: str, link: str) -> str:
    """A link's target, from the root of the repository; of a folder its README, of docs/ its index."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    if not (ROOT / target).is_dir():
        return target
    return f"{target}/index.md" if target == "docs" else f"{target}/README.md"


def _page_name(target: str) -> str:
    return target if target.endswith(".md") else f"{target}.md"


def _page(target: str) -> str:
    """A file's page. Raises FileNotFoundError for a link that leads nowhere."""
    text = (ROOT / target).read_text(encoding="utf-8")
    if target.endswith(".md"):
        return text
    return f"# {target}\n\n````{Path(target).suffix.removeprefix('.')}\n{text.rstrip()}\n````\n"
