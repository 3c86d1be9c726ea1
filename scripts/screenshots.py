"""Takes the pictures of docs/page.md anew, of the bundle that ships: `make screenshots`. Needs Chromium."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from PIL import Image  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402 (the line above lets it find the tests)

from tests.browser.conftest import FLAGS, NAMES, chromium  # noqa: E402
from tests.serving import Serve  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PICTURES = ROOT / "docs" / "images"
SIZE = {"width": 1200, "height": 760}
SHOWN = (840, 532)
"""Of the pictures in pixels: as large as a document shows them. A phone's are as large as its screen."""
PHONE = {"width": 390, "height": 844}
PATIENCE = 120_000  # milliseconds


def main() -> int:
    """Writes docs/images/page-*.png; exit code 1 without a Chromium."""
    path = chromium()
    if path is None:
        print(f"screenshots: no Chromium on this machine ({', '.join(NAMES)})", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as home, Serve(Path(home)) as serve, sync_playwright() as playwright:
        url = serve.wait_until_ready()
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        take_all(browser, url)
        browser.close()
    return 0


def take_all(browser: Browser, url: str) -> None:
    """Walks through the page as a visitor would."""
    page = visit(browser, url)
    save(page, "empty")
    page.fill("#steps", "0")
    page.click("#make")
    page.locator("#steps-help").wait_for()
    save(page, "error")
    make(page, seed=40, count=10, steps=8)
    wait_for_flower(page, 49)
    make(page, seed=7, count=5, steps=200)
    page.locator("canvas.blooming").nth(4).wait_for()
    page.wait_for_function("document.querySelector('progress').value > 0.5")
    save(page, "blooming")
    wait_for_flower(page, 11)
    page.get_by_role("button", name="Clear").click()
    for seed, count in ((40, 10), (7, 5)):
        make(page, seed=seed, count=count, steps=8)
        wait_for_flower(page, seed + count - 1)
    save(page, "gallery")
    page.get_by_role("button", name="Enlarge Seed 7,").click()
    page.get_by_role("dialog").wait_for()
    page.get_by_role("slider", name="Out of the noise, step by step").fill("4")
    page.locator("#viewer-picture:not(.coming)").wait_for()
    save(page, "growth")
    for name, options in (("dark", {"color_scheme": "dark"}), ("phone", {"viewport": PHONE})):
        other = visit(browser, url, **options)
        make(other, seed=7, count=5)
        wait_for_flower(other, 11)
        save(other, name)


def visit(browser: Browser, url: str, **options: Any) -> Page:
    """The page, as one sees it who comes for the first time."""
    # The page's policy forbids the scripts that Playwright waits with.
    options = {"viewport": SIZE, "color_scheme": "light", "bypass_csp": True, **options}
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    page.get_by_text("Nothing has bloomed here yet.").wait_for()
    return page


def make(page: Page, **wish: int) -> None:
    """Asks for flowers."""
    for name, value in wish.items():
        page.fill(f"#{name}", str(value))
    page.click("#make")


def wait_for_flower(page: Page, seed: int) -> None:
    """Waits until a flower can be enlarged, and its picture is there."""
    page.get_by_role("button", name=f"Enlarge Seed {seed},").wait_for()
    page.wait_for_load_state("networkidle")


def save(page: Page, name: str) -> None:
    """Scrolls up and takes a picture, once everything stands still."""
    page.evaluate("window.scrollTo(0, 0)")
    page.locator("#news:not(.shown)").wait_for(state="attached")
    picture = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    if picture.width == SIZE["width"]:
        picture = picture.resize(SHOWN, Image.Resampling.LANCZOS)
    path = PICTURES / f"page-{name}.png"
    picture.save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    sys.exit(main())
