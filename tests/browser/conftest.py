"""A real Chromium in front of the whole service, driven by Playwright. Where there is none, these tests are skipped."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.serving import ROOT, Serve

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

WRITE_BUNDLE = (
    "import sys, pathlib; from tests.bundles import make_tiny_bundle as m; m(pathlib.Path(sys.argv[1]), classes=1)"
)
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = (
    "--no-sandbox",  # which a container does not let it build
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 120_000  # milliseconds; less than half of what a test may take


def chromium() -> str | None:
    """Where it is, if it is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium()
    if path is None:
        pytest.skip(f"no Chromium on this machine ({', '.join(NAMES)}); on Debian: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make dev")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[str]:
    """The URL of a whole service, ready to make flowers of 16 x 16 pixels."""
    bundle = tmp_path_factory.mktemp("bundle") / "tiny.safetensors"
    subprocess.run([sys.executable, "-c", WRITE_BUNDLE, str(bundle)], cwd=ROOT, check=True, capture_output=True)
    with Serve(tmp_path_factory.mktemp("home"), env={"BOUQUET_BUNDLE": str(bundle)}) as serve:
        yield serve.wait_until_ready()


class Visit:
    """A page, and what it did that it should not have done."""

    def __init__(self, page: Page, service: str) -> None:
        self.page = page
        self.service = service
        self.faults: list[str] = []
        host = urlsplit(service).netloc
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.on("request", lambda request: self._see(request.url, host))

    def _hear(self, kind: str, text: str) -> None:
        # What the server refuses is logged by the browser itself.
        if kind in ("error", "warning") and not text.startswith("Failed to load resource"):
            self.faults.append(f"{kind}: {text}")

    def _see(self, url: str, host: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.netloc != host:
            self.faults.append(f"another host was asked: {url}")

    def go(self, path: str = "/") -> Page:
        self.page.goto(self.service + path)
        return self.page


@pytest.fixture
def context(browser: Browser, service: str) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 860}, base_url=service)
    context.set_default_timeout(PATIENCE)
    yield context
    context.close()


@pytest.fixture
def visit(context: BrowserContext, service: str) -> Iterator[Visit]:
    """The page, just opened. In the end nothing must have gone wrong in it, and nobody else been asked."""
    visit = Visit(context.new_page(), service)
    visit.go()
    yield visit
    assert visit.faults == []


@pytest.fixture
def page(visit: Visit) -> Page:
    return visit.page
