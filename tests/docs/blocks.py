"""The blocks of code in README.md and docs/.

A block of `sh` is run by a test (tests/e2e/test_docs.py), those of a page in their order, in one folder. A comment
before it says otherwise, and neither GitHub nor MkDocs shows it:

    <!-- needs: a phone, minutes -->    it is not run; what it needs is one or several of NEEDS
    <!-- file: plan.toml -->            before a block of any other language: what comes after finds it under this name
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

NEEDS = {
    "Termux": "a phone with it",
    "a checkout": "of this repository, changed by the block",
    "a network": "of several machines",
    "a phone": "over USB",
    "a download": "of somebody else's source",
    "an NDK": "Android's own compiler",
    "minutes": "too many for a test",
    "root": "to install packages",
    "your model": "a checkpoint, or a GGUF made of it, as that of Llama-2-7B",
}
"""What a block may need that a test does not have."""


@dataclass(frozen=True)
class Block:
    """One of a page."""

    page: Path
    line: int
    language: str
    text: str
    needs: str = ""
    file: str = ""

    @property
    def place(self) -> str:
        """As an editor opens it."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_run(self) -> bool:
        """Whether a test runs it."""
        return self.language == "sh" and not self.needs


def blocks_of(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in their order."""
    before = ""
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        if token.type == "fence":
            assert token.map
            needs, file = _said(before, "needs"), _said(before, "file")
            yield Block(page, token.map[0] + 1, token.info.strip(), token.content, needs, file)
        before = token.content if token.type == "html_block" else ""


def _said(comment: str, what: str) -> str:
    """`PLACE` of `<!-- needs: PLACE -->`."""
    inner = comment.strip().removeprefix("<!--").removesuffix("-->").strip()
    return inner.removeprefix(f"{what}:").strip() if inner.startswith(f"{what}:") else ""


def in_sentences(page: Path) -> Iterator[str]:
    """What stands as code in the sentences of a page."""
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        yield from (inner.content for inner in token.children or [] if inner.type == "code_inline")


def calls(script: str, program: str) -> Iterator[list[str]]:
    """The arguments of each call of a program in a script, variables and patterns as they stand there."""
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
        lexer.commenters, lexer.whitespace_split = "#", True
        command: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("();<>|&"):
                if command and command[0] == program:
                    yield command[1:]
                command = []
            else:
                command.append(word)
