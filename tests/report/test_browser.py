"""The page in a real browser: silent, complete, and no wider than a telephone."""

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgesynth.report.page import render
from tests.needs import need
from tests.report.test_page import RUNS

if TYPE_CHECKING:
    from playwright.sync_api import Browser

QUIET = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    need(program, "Chromium")
    need(importlib.util.find_spec("playwright"), "playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield browser
        browser.close()


@pytest.mark.parametrize("name", RUNS)
def test_the_page_opens_in_silence_and_never_scrolls_sideways(browser: "Browser", tmp_path: Path, name: str) -> None:
    file = tmp_path / "report.html"
    file.write_text(render(RUNS[name]()), "utf-8")
    page = browser.new_page(viewport={"width": 390, "height": 844})
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
    page.on("request", lambda request: requests.append(request.url))
    try:
        page.goto(file.as_uri())
        for width in (390, 768, 1280):
            page.set_viewport_size({"width": width, "height": 844})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        overlong = page.evaluate("document.body.scrollWidth > document.body.clientWidth")
    finally:
        page.close()
    assert not overlong
    assert not complaints
    assert [url for url in requests if not url.startswith("data:")] == [file.as_uri()]


@pytest.mark.parametrize("name", ["made_up_run", "with_board"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(browser: "Browser", tmp_path: Path, scheme: str, name: str) -> None:
    """WCAG AA: 4.5 to 1 between each text colour and its background."""
    file = tmp_path / "report.html"
    file.write_text(render(RUNS[name]()), "utf-8")
    page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
    try:
        page.goto(file.as_uri())
        pairs = page.evaluate(CONTRAST)
    finally:
        page.close()
    assert len(pairs) > 100
    assert [pair for pair in pairs if pair["ratio"] < 4.5] == []


CONTRAST = """() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = node => {
    for (let at = node; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || ["TITLE", "DESC"].includes(node.tagName.toUpperCase())) continue;
    const style = getComputedStyle(node);
    const front = rgb(node.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(front), light(behind(node))].sort((x, y) => y - x);
    found.push({ text: walker.currentNode.data.trim().slice(0, 40), ratio: (a + 0.05) / (b + 0.05) });
  }
  return found;
}"""
