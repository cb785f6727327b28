"""The report in a real browser: sliders, keyboard, phone, light and dark."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PHONE, DESK = {"width": 390, "height": 800}, {"width": 1200, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    found = os.environ.get("FRAMECAST_BROWSER") or next(
        filter(None, map(shutil.which, BROWSERS)), None
    )
    if found is None:
        pytest.skip("no browser: install chromium, or name one in FRAMECAST_BROWSER")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, trained: Path):
    """Opens the report; anything that goes wrong in the page fails the test."""
    contexts, problems = [], []

    def visit(scheme: str, size: dict[str, int]):
        context = browser.new_context(color_scheme=scheme, viewport=size, offline=True)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: line.type == "error" and problems.append(line.text))
        page.goto((trained / "report.html").as_uri())
        contexts.append(context)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert problems == []


def place(page, name: str) -> str:
    return page.locator(f"#{name}").evaluate("x => getComputedStyle(x).backgroundPosition")


def test_the_sliders_choose_step_and_sample_by_keyboard(opened):
    page = opened("light", DESK)
    assert page.locator("#step-text").inner_text() == "+6", "it opens on what is imagined"
    page.locator("#step").focus()
    page.keyboard.press("Home")
    assert page.locator("#step-text").inner_text() == "context 1"
    assert page.locator("#made").inner_text() == "given"
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    assert page.locator("#step-text").inner_text() == "+1"
    before = place(page, "truth"), place(page, "future")
    page.locator("#sample").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#made").inner_text() == "future 2"
    assert place(page, "truth") == before[0]
    assert place(page, "future") != before[1]
    assert page.locator("#step").get_attribute("aria-valuetext") == "+1"
    assert page.locator("#sample").get_attribute("aria-valuetext").startswith("sample 2 of ")
    page.locator("#step").focus()
    page.keyboard.press("End")
    assert page.locator("#step-text").inner_text() == "+10"
    assert place(page, "truth").startswith("100%")


def test_play_runs_to_the_end_and_stops(opened):
    page = opened("light", DESK)
    page.get_by_role("button", name="Play").press("Enter")
    page.wait_for_function("document.getElementById('step-text').textContent === '+10'")
    page.get_by_role("button", name="Play").wait_for()


def test_everything_that_can_be_worked_has_a_name(opened):
    page = opened("light", DESK)
    for role, name in (("slider", "time step"), ("slider", "sample"), ("combobox", "clip")):
        assert page.get_by_role(role, name=name).count() == 1
    images = page.locator("img")
    assert all(images.nth(i).get_attribute("alt") for i in range(images.count()))
    assert page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_nothing_hangs_over_the_page_and_text_can_be_read(opened, scheme, size, tmp_path: Path):
    page = opened(scheme, size)
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= size["width"]
    ink, paper = page.evaluate(
        "(() => { const style = getComputedStyle(document.body);"
        " return [style.color, style.backgroundColor]"
        ".map(colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number)) })()"
    )
    assert contrast(ink, paper) > 7
    kept = Path(os.environ.get("FRAMECAST_SCREENSHOTS", tmp_path))
    page.screenshot(path=kept / f"{scheme}-{size['width']}.png", full_page=True)


def contrast(one: list[float], other: list[float]) -> float:
    """Contrast ratio of WCAG 2."""

    def luminance(colour: list[float]) -> float:
        parts = [c / 255 for c in colour]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)
