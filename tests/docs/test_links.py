"""README.md is no page of the site, whose build looks at its own links."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt

from tests.docs.blocks import ROOT


def links(page: Path) -> Iterator[str]:
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        for inner in token.children or []:
            yield from (str(inner.attrs[name]) for name in ("href", "src") if name in inner.attrs)


def anchors(page: Path) -> set[str]:
    """The headings as GitHub and MkDocs name them in an address."""
    tokens = MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))
    heads = [text.content for mark, text in itertools.pairwise(tokens) if mark.type == "heading_open"]
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_readmes_links_lead_somewhere() -> None:
    within = [link for link in links(ROOT / "README.md") if "://" not in link]
    assert len(within) > 10
    for link in within:
        path, _, anchor = link.partition("#")
        assert (ROOT / path).is_file(), link
        assert not anchor or anchor in anchors(ROOT / path), link
