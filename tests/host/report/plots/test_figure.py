from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from smoothdroid.host.report.plots.figure import SVG, ReportFigure
from smoothdroid.host.report.plots.style import COLOURS, INK, look, panel
from tests.host.report.whole import HOSTILE


def picture(name: str = "threads-1", label: str = "a") -> ReportFigure:
    figure, (axes,) = panel()
    axes.errorbar([1, 2], [3, 4], yerr=[1, 1], **look(0))
    axes.set_title(label)
    return ReportFigure(f"title {label}", f"text {label}", figure, name)


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)  # noqa: S314 (just written)


def test_an_svg_has_a_title_a_text_and_ids_of_its_own() -> None:
    one, other = (parsed(picture(name).svg()) for name in ("threads-1", "threads-2"))
    assert one.get("role") == "img"
    assert [(child.tag, child.text) for child in list(one)[:2]] == [
        (f"{{{SVG}}}title", "title a"),
        (f"{{{SVG}}}desc", "text a"),
    ]
    ids = [{element.get("id") for element in root.iter() if element.get("id")} for root in (one, other)]
    assert len(ids[0]) > 5
    assert not ids[0] & ids[1]
    text = picture("threads-1").svg()
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', text))
    assert used
    assert used <= ids[0]


def test_the_page_colours_it() -> None:
    text = picture().svg()
    assert INK not in text
    assert "currentColor" in text
    assert f"var(--line-0, {COLOURS[0]})" in text
    assert "<metadata" not in text
    assert "prefers-color-scheme" in picture().svg(alone=True)


def test_the_same_figure_gives_the_same_file() -> None:
    assert picture().svg() == picture().svg()


def test_a_hostile_name_is_text_in_it() -> None:
    text = picture(label=HOSTILE).svg()
    assert "<script" not in text
    assert "<img" not in text
    root = parsed(text)
    assert any("<script>alert(1)</script>" in (element.text or "") for element in root.iter(f"{{{SVG}}}title"))
    assert {element.tag for element in root.iter()} <= {
        f"{{{SVG}}}{name}"
        for name in ("svg", "title", "desc", "defs", "style", "g", "path", "use", "text", "clipPath", "rect")
    }


def test_it_is_saved_as_both_and_says_what_no_font_here_shows(tmp_path: Path) -> None:
    assert picture().save(tmp_path) == []
    assert (tmp_path / "threads-1.png").read_bytes().startswith(b"\x89PNG\r\n")
    parsed((tmp_path / "threads-1.svg").read_text())
    # Of a script that no font has.
    missing = picture(label="\U0001e900").save(tmp_path)
    assert missing
    assert "DejaVu Sans" in missing[0]
    assert "\U0001e900" in (tmp_path / "threads-1.svg").read_text()


@pytest.mark.parametrize("label", ["안녕", "model_q8"])
def test_text_stays_text(label: str) -> None:
    assert label in picture(label=label).svg()
