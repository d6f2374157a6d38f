"""A figure -> PNG and SVG; in a page the SVG has the page's colours, and a text for who cannot see it."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.etree import ElementTree

from matplotlib.figure import Figure
from matplotlib.text import Text

from smoothdroid.host.report.data.safe_text import block, line
from smoothdroid.host.report.plots.style import COLOURS, DOTS_PER_INCH, INK

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_MISSING = re.compile(r"Glyph \d+ \(.*\) missing from font\(s\) (.*)\.")

# For the file: a page brings its own.
_ALONE = "svg{color:#1b1f24;background:#fff}@media(prefers-color-scheme:dark){svg{color:#e6e8eb;background:#15181c}}"


@dataclass(frozen=True)
class Picture:
    """A figure and what it says in words."""

    name: str
    """Of its files: threads-1."""
    title: str
    description: str
    """What a reader who cannot see it needs: the figures in it, or where they stand."""
    figure: Figure

    def __post_init__(self) -> None:
        # One control character of a phone's would make an SVG that no parser takes.
        for text in self.figure.findobj(Text):
            if isinstance(text, Text):
                text.set_text(block(text.get_text()))

    def svg(self, *, alone: bool = False) -> str:
        """An SVG element. Its ids begin with the picture's name, so that several can be in one page.

        With `alone` it is a document, which is dark where its viewer is.
        """
        root = ElementTree.fromstring(self._drawn)  # noqa: S314 (matplotlib's own, just written)
        for unseen in root.findall(f"{{{SVG}}}metadata"):
            root.remove(unseen)
        for element in root.iter():
            _retold(element, self.name)
        title, text = ElementTree.Element(f"{{{SVG}}}title"), ElementTree.Element(f"{{{SVG}}}desc")
        title.set("id", f"{self.name}-title")
        text.set("id", f"{self.name}-text")
        title.text, text.text = line(self.title), line(self.description)
        root.insert(0, title)
        root.insert(1, text)
        if alone:
            style = ElementTree.Element(f"{{{SVG}}}style")
            style.text = _ALONE
            root.insert(2, style)
        root.set("role", "img")
        root.set("aria-labelledby", f"{self.name}-title {self.name}-text")
        ElementTree.register_namespace("", SVG)
        return ElementTree.tostring(root, encoding="unicode")

    @cached_property
    def _drawn(self) -> bytes:
        """As matplotlib writes it: with a size of its own, in its own colours."""
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the viewer's fonts draw it, not matplotlib's
            # No date and no version: the same results give the same file.
            self.figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        self.figure.set_layout_engine("none")  # it is laid out: once is enough
        return file.getvalue()

    def save(self, folder: Path) -> list[str]:
        """Write NAME.png and NAME.svg; returns what no font of this machine can show in the PNG."""
        (folder / f"{self.name}.svg").write_text(self.svg(alone=True) + "\n", encoding="utf-8")
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            self.figure.savefig(folder / f"{self.name}.png", dpi=DOTS_PER_INCH)
        return [found[1] for warning in told if (found := _MISSING.match(str(warning.message)))]


def _retold(element: ElementTree.Element, name: str) -> None:
    """Ids and what refers to them under the picture's name; the ink and the lines in the page's colours."""
    for key, value in list(element.attrib.items()):
        if key == "id":
            element.set("id", f"{name}-{value}")
        elif key == f"{{{XLINK}}}href":
            del element.attrib[key]
            element.set("href", value.replace("#", f"#{name}-", 1))
        elif key in ("style", "clip-path"):
            value = value.replace("url(#", f"url(#{name}-").replace(INK, "currentColor")
            for number, colour in enumerate(COLOURS):
                value = value.replace(colour.lower(), f"var(--line-{number}, {colour})")
            element.set(key, value)
