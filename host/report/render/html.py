"""The page of a report: one HTML file that contains its styles, script and figures."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from smoothdroid.host.report.data.safe_text import block, line
from smoothdroid.host.report.sections.report import Report

PAGE = Path(__file__).with_name("page")


def html(report: Report, notices: list[str]) -> str:
    """Return the page; everything that comes neither from this folder nor from matplotlib is escaped."""
    script, style = ((PAGE / f"report.{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))
    pages = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: line(value) if type(value) is str else value,  # Markup and numbers are kept
        keep_trailing_newline=True,
    )
    pages.filters["block"] = lambda text: escape(block(text))
    return pages.get_template("report.html").render(
        report=report,
        notices=notices,
        policy=_policy(script),
        style=Markup(style),  # noqa: S704 (this folder's own)
        script=Markup(script),  # noqa: S704 (this folder's own)
        drawn={figure.name: Markup(figure.svg()) for figure in report.figures},  # noqa: S704 (serialised, escaped)
    )


def _policy(script: str) -> str:
    """Return the content security policy: nothing is loaded, and no script runs but the one that sorts.

    Inline styles are allowed because the figures contain some.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
