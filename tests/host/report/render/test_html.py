"""The page as a reader has it: in headless Chromium, from the disk."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Page

from smoothdroid.host.llamacpp.settings import Options
from smoothdroid.host.report.data.report_data import ReportData, load
from smoothdroid.host.report.plots.registry import PLOTS
from smoothdroid.host.report.render.files import CELLS, PAGE, SUMMARY, write
from smoothdroid.host.results.cell import Protocol, Test
from smoothdroid.host.results.plan import Plan
from tests.host.fakes import campaign, model, phone, run_of, write_results
from tests.host.report.whole import HOSTILE, SCRIPT

THOUSAND = Plan(
    models=[model(f"model-{number}") for number in range(5)],
    threads=[1, 2, 3, 4, 5, 6, 7, 8],
    tests=[Test(n_prompt=128), Test(n_prompt=512), Test(n_gen=32), Test(n_gen=128), Test(n_gen=256)],
    options=[Options(), *(Options(depth=depth) for depth in (512, 1024, 2048, 4096))],
    protocol=Protocol(repetitions=3),
)


class Opened:
    """A page, and all that its reader would find in the console."""

    def __init__(self, browser: Browser, path: Path, width: int = 1280, scheme: str = "light") -> None:
        context = browser.new_context(viewport={"width": width, "height": 800})
        self.page: Page = context.new_page()
        self.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", self._hear)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def _hear(self, dialog: Dialog) -> None:
        self.said.append(dialog.message)
        dialog.dismiss()


@pytest.fixture(scope="module")
def report(inputs: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write(inputs, folder)
    return folder / PAGE


@pytest.fixture
def opened(browser: Browser, report: Path) -> Opened:
    return Opened(browser, report)


def test_the_console_stays_empty_and_nothing_is_asked_for(opened: Opened, report: Path) -> None:
    assert opened.said == []
    assert [url for url in opened.asked if not url.startswith("data:")] == [report.as_uri()]


def test_what_is_hostile_is_text(opened: Opened, report: Path) -> None:
    page = opened.page
    assert page.locator("script").count() == 1
    assert page.locator("img, iframe, object, embed, form").count() == 0
    assert SCRIPT in page.locator("h1").inner_text()
    assert SCRIPT in (page.locator("figure title").filter(has_text="alert").first.text_content() or "")
    assert (
        page.evaluate(
            "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()).filter(n => /^on/.test(n))"
        )
        == []
    )
    assert not {"\u202e", "\x07", "\ufffe"} & set(report.read_text())
    assert SCRIPT not in report.read_text()


def test_a_script_that_is_not_the_pages_own_does_not_run(browser: Browser, report: Path, tmp_path: Path) -> None:
    """The policy holds even where an escape was forgotten."""
    bad = tmp_path / "bad.html"
    bad.write_text(report.read_text().replace("<main>", "<main><script>alert(1)</script><img src=x onerror=alert(2)>"))
    opened = Opened(browser, bad)
    assert "1" not in opened.said
    assert "2" not in opened.said
    assert any("Content Security Policy" in said for said in opened.said)


def test_every_figure_has_a_text_in_its_place(opened: Opened) -> None:
    pictures = opened.page.locator("figure svg")
    assert pictures.count() > 8
    for picture in pictures.all():
        assert picture.get_attribute("role") == "img"
        named = (picture.get_attribute("aria-labelledby") or "").split()
        texts = [opened.page.locator(f'[id="{name}"]').text_content() for name in named]
        assert len(texts) == 2
        assert all(texts)
    kinds = {re.sub(r"-\d+$", "", (p.get_attribute("id") or "")) for p in opened.page.locator("figure").all()}
    assert kinds == {f"figure-{plot.stem}" for plot in PLOTS} - {"figure-predicted"}  # its SoC is in no table
    ids = opened.page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    dangling = opened.page.evaluate(
        "[...document.querySelectorAll('[href^=\"#\"]')].map(e => e.getAttribute('href').slice(1))"
        ".filter(name => !document.getElementById(name))"
    )
    assert dangling == []


def column(page: Page, at: int) -> list[str]:
    cells = page.locator("#best table").first.locator(f"tbody tr > :nth-child({at}) > span")
    return [text.strip() for text in cells.all_inner_texts()]


def test_a_click_on_a_head_sorts(opened: Opened) -> None:
    page = opened.page
    heads = page.locator("#best table").first.locator("thead th")
    at = [text.split(" ")[0].strip() for text in heads.all_inner_texts()].index("tokens/s")
    before = column(page, at + 1)
    assert len(before) == 4
    heads.nth(at).locator("button").click()
    rising = sorted(before, key=float)
    assert before != rising
    assert column(page, at + 1) == rising
    assert heads.nth(at).get_attribute("aria-sort") == "ascending"
    heads.nth(at).locator("button").press("Enter")
    assert column(page, at + 1) == rising[::-1]
    heads.nth(0).locator("button").click()
    assert column(page, 1) == sorted(column(page, 1))
    assert heads.nth(at).get_attribute("aria-sort") == "none"


def test_heads_say_what_they_are_of(opened: Opened) -> None:
    page = opened.page
    assert page.locator("thead th:not([scope=col])").count() == 0
    assert page.locator("tbody tr > :first-child:not(th[scope=row])").count() == 0
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize("width", [320, 375, 1280])
def test_nothing_sticks_out_of_the_screen(browser: Browser, report: Path, width: int) -> None:
    page = Opened(browser, report, width).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_dark_and_light_have_grounds_of_their_own_and_figures_follow(browser: Browser, report: Path) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        page = Opened(browser, report, scheme=scheme).page
        ground = "getComputedStyle(document.body).backgroundColor"
        text = "getComputedStyle(document.querySelector('figure svg text')).fill"
        seen[scheme] = page.evaluate(f"[{ground}, {text}]")
    assert seen == {
        "light": ["rgb(255, 255, 255)", "rgb(27, 31, 36)"],
        "dark": ["rgb(21, 24, 28)", "rgb(230, 232, 235)"],
    }


def test_it_prints(opened: Opened, tmp_path: Path) -> None:
    opened.page.emulate_media(media="print", color_scheme="dark")
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert opened.page.evaluate("getComputedStyle(document.querySelector('.scroll')).maxHeight") == "none"
    assert opened.page.pdf(format="A4").startswith(b"%PDF")


def test_it_begins_with_the_best_settings(opened: Opened) -> None:
    text = opened.page.locator("#best").inner_text()
    assert text.startswith("Best settings")
    assert "Google Pixel 8 (zuma), over adb: fastest decode 41.0 tokens/s" in text
    assert "tiny-smooth-q8_0, tg128, 4 threads on CPUs mid" in text


def test_a_thousand_cells_are_one_readable_page(browser: Browser, tmp_path: Path) -> None:
    known = campaign(THOUSAND, phone())
    cells = list(THOUSAND.cells())
    assert len(cells) == 1000
    write_results(tmp_path / "r", known, [run_of(known, cell, [10.0, 10.1, 9.9]) for cell in cells])
    write(load([tmp_path / "r"]), tmp_path / "report")
    opened = Opened(browser, tmp_path / "report" / PAGE)
    assert opened.said == []
    assert opened.page.locator("tbody tr").count() > 1000
    assert opened.page.locator("details[open]").count() == 0
    height = opened.page.evaluate("document.documentElement.scrollHeight")
    assert height < 20 * 800
    assert (tmp_path / "report" / PAGE).stat().st_size < 4e6
    assert "<details>" in (tmp_path / "report" / SUMMARY).read_text()
    assert len((tmp_path / "report" / CELLS).read_text().splitlines()) == 1001


def test_no_valid_cell_says_so(browser: Browser, tmp_path: Path) -> None:
    plan = THOUSAND.model_copy(update={"models": [model(HOSTILE)], "options": [Options()], "tests": [Test(n_gen=8)]})
    known = campaign(plan, phone())
    write_results(tmp_path / "r", known, [run_of(known, cell, failure="killed") for cell in plan.cells()])
    write(load([tmp_path / "r"]), tmp_path / "report")
    opened = Opened(browser, tmp_path / "report" / PAGE)
    assert opened.said == []
    assert "no valid cell" in opened.page.locator("#best").inner_text()
    assert "No figure: there is no measurement" in opened.page.locator("main").inner_text()
    assert opened.page.locator("figure").count() == 0
