"""The figure of a report as PNG and SVG; the SVG has a text alternative, and in a page the page's colours."""

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

# The style of an SVG file; a page has its own.
_ALONE = "svg{color:#1b1f24;background:#fff}@media(prefers-color-scheme:dark){svg{color:#e6e8eb;background:#15181c}}"


@dataclass(frozen=True)
class ReportFigure:
    """A figure with its title and its content as text."""

    title: str
    description: str
    """The text alternative: the figures in it, or where they are."""
    figure: Figure
    name: str = ""
    """The name of its files without suffix, threads-1: given by the registry of plots."""

    def __post_init__(self) -> None:
        """Replace control characters in the texts of the figure."""
        # One control character in a phone's name would make an SVG that no parser accepts.
        for text in self.figure.findobj(Text):
            if isinstance(text, Text):
                text.set_text(block(text.get_text()))

    def svg(self, *, alone: bool = False) -> str:
        """Return an SVG element, whose ids begin with the figure's name so that several fit in one page.

        With `alone` it is a document that follows the viewer's dark mode.
        """
        root = ElementTree.fromstring(self._drawn)  # noqa: S314 (matplotlib's own, just written)
        for metadata in root.findall(f"{{{SVG}}}metadata"):
            root.remove(metadata)
        for element in root.iter():
            _adapt(element, self.name)
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
        """The SVG as matplotlib writes it: with a fixed size and fixed colours."""
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the viewer's fonts draw it, not matplotlib's
            # Without date and version, the same results give the same file.
            self.figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        self.figure.set_layout_engine("none")  # the layout is done: once is enough
        return file.getvalue()

    def save(self, folder: Path) -> list[str]:
        """Write NAME.png and NAME.svg; return the fonts that were searched in vain for characters of the PNG."""
        (folder / f"{self.name}.svg").write_text(self.svg(alone=True) + "\n", encoding="utf-8")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.figure.savefig(folder / f"{self.name}.png", dpi=DOTS_PER_INCH)
        return [match[1] for warning in caught if (match := _MISSING.match(str(warning.message)))]


def _adapt(element: ElementTree.Element, name: str) -> None:
    """Put the figure's name before ids and references to them, and replace fixed colours by the page's."""
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
