"""The documentation as a site: built with warnings as errors, opened in Chromium."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Browser

from tests.docs.blocks import ROOT
from tests.waiting import GIVE_UP_S


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder, and says nothing of it."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=GIVE_UP_S)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


PAGES = ("index.html", "ko/index.html", "tutorial.html", "reference/commands.html", "reference/results.html")


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_asks_nobody_else_and_fits(browser: Browser, address: str, page: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800})
    opened = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(address + page, wait_until="networkidle")
    assert said == []
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.locator("html").get_attribute("lang") == ("ko" if page.startswith("ko/") else "en")
    context.close()


@pytest.mark.parametrize(("word", "found"), [("sustained", "Measure"), ("에뮬레이션", "빠른 시작")])
def test_the_search_finds(browser: Browser, address: str, word: str, found: str) -> None:
    opened = browser.new_page()
    opened.goto(f"{address}?q={word}")
    opened.locator(".md-search-result__item", has_text=found).first.wait_for()
    opened.close()


def test_an_address_that_a_page_names_is_somebody_elses(site: Path) -> None:
    """Scripts, styles and pictures come from the site; only links lead away."""
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for loads in ('src="http', 'src="//', '<link rel="stylesheet" href="http', 'rel="preconnect"'):
            assert loads not in text, f"{page.relative_to(site)}: {loads}"
