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

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<!!)\]\((?![a-z]+:|#)([^)#\s]+)")
PREFIX = "repository/"
EXTRA = ("llms.txt",)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every file of the repository that a page leads to."""
    waiting = [(f"docs/{file.src_uri}", file.content_string) for file in files.documentation_pages()]
    known: set[str] = set()
    while waiting:
        path, text = waiting.pop()
        for target in _outside(path, text):
            if target not in known:
                known.add(target)
                page = _page(target)
                files.append(_added(config, PREFIX + _page_name(target), page))
                waiting.append((target, page if target.endswith(".md") else ""))
    for name in EXTRA:
        if (ROOT / name).is_file():
            files.append(_added(config, name, (ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Links that lead out of docs/, and those of the files outside of it, go to where these are in the site."""
    place = page.file.src_uri
    own = place.removeprefix(PREFIX) if place.startswith(PREFIX) else f"docs/{place}"

    def moved(found: re.Match[str]) -> str:
        target = _resolved(own, found[1])
        site = target.removeprefix("docs/") if target.startswith("docs/") else PREFIX + _page_name(target)
        return f"]({posixpath.relpath(site, posixpath.dirname(place) or '.')}"

    return LINK.sub(moved, markdown)


def _added(config: MkDocsConfig, place: str, text: str) -> File:
    return File.generated(config, place, content=text, inclusion=InclusionLevel.NOT_IN_NAV)


def _outside(path: str, text: str) -> Iterator[str]:
    for link in LINK.findall(text):
        target = _resolved(path, link)
        if not target.startswith("docs/"):
            yield target


def _resolved(path: str, link: str) -> str:
    """A link's target, from the root of the repository; of a folder its README."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
    return f"{target}/README.md" if (ROOT / target).is_dir() else target


def _page_name(target: str) -> str:
    return target if target.endswith(".md") else f"{target}.md"


def _page(target: str) -> str:
    """A file's page. Raises FileNotFoundError for a link that leads nowhere."""
    text = (ROOT / target).read_text(encoding="utf-8")
    if target.endswith(".md"):
        return text
    return f"# {target}\n\n````{Path(target).suffix.removeprefix('.')}\n{text.rstrip()}\n````\n"
