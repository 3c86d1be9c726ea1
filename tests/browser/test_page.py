"""The page, as people meet it."""

from __future__ import annotations

import base64
import io
import json
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image

from tests.browser.conftest import Visit
from tests.processes import poll

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, Route

KIND = ", kind 0"  # all flowers of this service are of one kind
GROWN = ".flower:not(.waiting) .picture img"


def make(page: Page, **wish: Any) -> None:
    """Fills the form in, by DDIM unless told otherwise, and sends it."""
    for name, value in {"sampler": "ddim", **wish}.items():
        if name in ("sampler", "kind"):
            page.select_option(f"#{name}", value)
        else:
            page.fill(f"#{name}", str(value))
    page.click("#make")


def make_and_wait(page: Page, **wish: Any) -> None:
    make(page, **wish)
    for seed in range(wish["seed"], wish["seed"] + wish["count"]):  # each: pictures come in any order
        page.get_by_role("button", name=f"Enlarge Seed {seed}{KIND}", exact=True).wait_for()


def open_flower(page: Page, seed: int) -> None:
    page.get_by_role("button", name=f"Enlarge Seed {seed}{KIND}", exact=True).click()
    page.get_by_role("dialog").wait_for()


def fetch(url: str) -> httpx.Response:
    return httpx.get(url, timeout=60).raise_for_status()


def brightness(page: Page, selector: str, name: str) -> float:
    colour = page.locator(selector).evaluate(f"element => getComputedStyle(element).{name}")
    red, green, blue = (float(part) for part in re.findall(r"[\d.]+", colour)[:3])
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


def test_the_page_begins_empty_and_says_so(page: Page) -> None:
    page.get_by_text("Nothing has bloomed here yet.").wait_for()
    page.get_by_text("Grown by tiny, 16 × 16 pixels").wait_for()
    assert page.get_by_role("button", name="Clear").is_hidden()
    page.get_by_role("button", name="A handful").click()
    page.locator(GROWN).nth(3).wait_for()
    assert page.locator(GROWN).count() == 4


def test_who_asks_for_nothing_special_gets_the_best_for_the_time(page: Page, service: str) -> None:
    page.fill("#seed", "50")
    page.fill("#count", "1")
    page.click("#make")
    page.get_by_text("Seed 50, 8 steps, multistep").wait_for()
    page.get_by_role("button", name=f"Enlarge Seed 50{KIND}", exact=True).wait_for()
    address = page.locator(GROWN).first.get_attribute("src") or ""
    flower = fetch(f"{service}/flowers/50.png?steps=8&sampler=multistep").content
    assert fetch(f"{service}{address}").content == flower
    page.get_by_role("button", name="Clear").click()
    page.fill("#steps", "300")
    page.select_option("#sampler", "ddim")
    page.get_by_role("button", name="A handful").click()  # an idea says all of it, whatever was set before
    page.get_by_text("8 steps, multistep").wait_for()


def test_flowers_bloom_live_out_of_their_noise(page: Page) -> None:
    page.evaluate("""() => {
        window.seen = new Set();
        const look = () => {
            for (const canvas of document.querySelectorAll("canvas.blooming")) window.seen.add(canvas.toDataURL());
            if (window.seen.size > 0 && document.querySelector("progress")?.checkVisibility()) window.told = true;
            requestAnimationFrame(look);
        };
        look();
    }""")
    make(page, seed=100, steps=700, count=2)
    page.get_by_text("Seeds 100 to 101, 700 steps").wait_for()
    page.locator(GROWN).nth(1).wait_for()
    assert page.evaluate("window.seen.size") > 5
    assert page.evaluate("window.told")
    assert page.locator(GROWN).first.evaluate("image => image.decode().then(() => image.naturalWidth)") == 16
    assert page.get_by_role("progressbar").is_hidden()
    assert page.get_by_text("2 flowers are in bloom.").count() == 1


def test_the_gallery_outlives_a_reload(visit: Visit, page: Page) -> None:
    make_and_wait(page, seed=200, steps=4, count=3)
    make_and_wait(page, seed=300, steps=5, count=1, sampler="multistep")
    page.reload()
    names = page.locator(".flower .name").all_inner_texts()
    assert names == [f"{seed}{KIND}" for seed in (300, 200, 201, 202)]
    assert page.get_by_text("Seed 300, 5 steps, multistep").is_visible()
    for image in page.locator(GROWN).all():
        image.scroll_into_view_if_needed()
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 16
    page.get_by_role("button", name="Clear").click()
    page.reload()
    page.get_by_text("Nothing has bloomed here yet.").wait_for()


def answer_with(route: Route, status: int, code: str, title: str, retry_after: str | None = None) -> None:
    """A Problem in place of the answer."""
    problem = {"title": title, "detail": "So it is.", "code": code, "status": status}
    headers = {"Retry-After": retry_after} if retry_after else {}
    route.fulfill(status=status, headers=headers, content_type="application/problem+json", body=json.dumps(problem))


@pytest.mark.parametrize(("status", "code"), [(503, "flower-pending"), (429, "queue-full")])
def test_a_picture_that_is_being_made_again_is_waited_for(visit: Visit, page: Page, status: int, code: str) -> None:
    make_and_wait(page, seed=1800, steps=3, count=2)
    page.add_init_script("""
        window.files = new Set();
        const {createObjectURL: make, revokeObjectURL: end} = URL;
        URL.createObjectURL = (file) => { const address = make(file); window.files.add(address); return address; };
        URL.revokeObjectURL = (address) => { window.files.delete(address); end(address); };
    """)
    asked: list[str] = []
    for number in range(2):  # or the page that is left might still ask for them
        page.locator(GROWN).nth(number).evaluate("image => image.decode()")

    def refuse(route: Route) -> None:
        asked.append(route.request.resource_type)
        answer_with(route, status, code, "Not yet", retry_after="1")

    page.route("**/images/*-1800-*", refuse)
    page.reload()
    page.get_by_role("button", name=f"Enlarge Seed 1801{KIND}", exact=True).wait_for()
    tile = page.get_by_role("button", name=f"Seed 1800{KIND}, growing again", exact=True)
    tile.wait_for()
    with page.expect_response("**/images/*-1800-*"):  # it is asked for more than once
        pass
    assert tile.is_visible()
    assert asked[:2] == ["image", "fetch"]
    page.unroute("**/images/*-1800-*")
    page.get_by_role("button", name=f"Enlarge Seed 1800{KIND}", exact=True).wait_for()
    image = page.locator(GROWN).first
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 16
    assert page.evaluate("window.files.size") == 0
    open_flower(page, 1800)
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("dialog").get_by_role("heading").inner_text() == f"Seed 1801{KIND}"


def test_a_picture_that_cannot_come_now_may_be_tried_again(page: Page) -> None:
    make_and_wait(page, seed=1810, steps=3, count=1)
    page.route("**/images/**", lambda route: route.abort())
    page.reload()
    tile = page.get_by_role("button", name=f"Seed 1810{KIND}: The server cannot be reached. Try again.", exact=True)
    tile.wait_for()
    assert tile.inner_text() == "The server cannot be reached. Try again."
    page.unroute("**/images/**")
    page.route("**/images/**", lambda route: answer_with(route, 401, "unauthorized", "A key is needed"))
    tile.click()
    tile = page.get_by_role("button", name=f"Seed 1810{KIND}: A key is needed. Try again.", exact=True)
    tile.focus()
    page.unroute("**/images/**")
    page.keyboard.press("Enter")
    page.get_by_role("button", name=f"Enlarge Seed 1810{KIND}", exact=True).wait_for()
    assert page.evaluate("document.activeElement.ariaLabel") == f"Enlarge Seed 1810{KIND}"
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()


def test_a_file_that_is_no_picture_is_told_and_not_asked_for_without_end(page: Page) -> None:
    make_and_wait(page, seed=1820, steps=3, count=1)
    page.route("**/images/**", lambda route: route.fulfill(content_type="image/png", body="no flower"))
    page.reload()
    page.get_by_text("The picture cannot be shown. Try again.").wait_for()


def test_a_flower_of_another_bundle_is_gone(page: Page) -> None:
    make_and_wait(page, seed=1830, steps=3, count=1)
    page.evaluate("""localStorage.setItem("bouquet.beds",
        localStorage.getItem("bouquet.beds").replaceAll(/images.[0-9a-f]{12}/g, "images/000000000000"))""")
    page.reload()
    words = "No longer kept. Make it again with its seed."
    tile = page.get_by_role("button", name=f"Seed 1830{KIND}: {words}", exact=True)
    tile.wait_for()
    assert tile.inner_text() == words
    assert tile.is_disabled()


def test_a_job_that_was_left_is_followed_again(page: Page) -> None:
    make(page, seed=900, steps=400, count=4)
    page.locator(".bed").wait_for()
    page.reload()
    page.locator(GROWN).nth(3).wait_for()


def test_a_job_can_be_canceled(page: Page) -> None:
    make(page, seed=5000, steps=1000, count=64)
    page.get_by_role("button", name="Cancel").first.click()
    page.get_by_text("Nothing has bloomed here yet.").wait_for()
    page.reload()
    page.get_by_text("Nothing has bloomed here yet.").wait_for()


def test_link_and_file_are_the_flower(context: BrowserContext, page: Page, service: str) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=service)
    make_and_wait(page, seed=400, steps=4, count=1)
    page.get_by_role("button", name="Copy link to Seed 400").click()
    page.get_by_text("The link was copied.").wait_for()
    link = page.evaluate("navigator.clipboard.readText()")
    flower = fetch(link).content
    assert flower == fetch(f"{service}/flowers/400.png?steps=4").content
    with page.expect_download() as started:
        page.get_by_role("link", name="Save Seed 400").click()
    assert started.value.suggested_filename == "bouquet-400-4.png"
    assert started.value.path().read_bytes() == flower


def test_more_like_this_are_the_neighbours(page: Page) -> None:
    make_and_wait(page, seed=500, steps=3, count=1)
    page.get_by_role("button", name="More like Seed 500").click()
    page.get_by_role("button", name=f"Enlarge Seed 504{KIND}", exact=True).wait_for()
    names = page.locator(".flower .name").all_inner_texts()
    assert names == [f"{seed}{KIND}" for seed in (*range(496, 505), 500)]


def test_the_arrow_keys_lead_past_a_flower_that_is_in_two_beds(page: Page) -> None:
    make_and_wait(page, seed=540, steps=3, count=1)
    make_and_wait(page, seed=530, steps=3, count=1)
    page.get_by_role("button", name="More like Seed 530").click()
    open_flower(page, 534)
    heading = page.get_by_role("dialog").get_by_role("heading")
    met = []
    while page.locator("#viewer-next").is_visible():
        page.keyboard.press("ArrowRight")
        met.append(heading.inner_text())
        assert len(met) < 10, met
    assert met == [f"Seed 530{KIND}", f"Seed 540{KIND}"]
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert heading.inner_text() == f"Seed 534{KIND}"


def test_everything_can_be_done_with_the_keyboard(page: Page) -> None:
    def focused(attribute: str = "id") -> str:
        return str(page.evaluate(f"document.activeElement.{attribute}"))

    def tab_to(wanted: str, attribute: str = "id") -> None:
        for _ in range(60):
            if focused(attribute) == wanted:
                return
            page.keyboard.press("Tab")
        pytest.fail(f"the keyboard does not lead to {wanted}")

    page.keyboard.press("Tab")
    assert focused("textContent") == "To the flowers"
    tab_to("seed")
    page.keyboard.type("600")
    tab_to("count")
    page.keyboard.press("Control+A")
    page.keyboard.type("2")
    tab_to("steps")
    page.keyboard.press("Control+A")
    page.keyboard.type("6")
    page.keyboard.press("Enter")
    page.get_by_role("button", name=f"Enlarge Seed 601{KIND}", exact=True).wait_for()
    tab_to(f"Enlarge Seed 600{KIND}", "ariaLabel")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    assert dialog.get_by_role("heading").inner_text() == f"Seed 600{KIND}"
    page.keyboard.press("ArrowRight")
    assert dialog.get_by_role("heading").inner_text() == f"Seed 601{KIND}"
    page.keyboard.press("ArrowLeft")
    assert dialog.get_by_role("heading").inner_text() == f"Seed 600{KIND}"
    tab_to("growth-slider")
    page.keyboard.press("Home")
    assert page.locator("#growth-words").inner_text() == "step 1 of 6"
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert focused("ariaLabel") == f"Enlarge Seed 600{KIND}"


def test_everything_has_a_name(page: Page) -> None:
    make_and_wait(page, seed=650, steps=2, count=1)
    for is_open in (False, True):
        if is_open:
            open_flower(page, 650)
        nameless = page.evaluate("""() => [...document.querySelectorAll("button, a, input, select, img, dialog")]
            .filter((element) => element.checkVisibility())
            .filter((element) => !(element.ariaLabel || element.title || element.labels?.length
                || element.textContent.trim() || element.getAttribute("alt") !== null
                || element.getAttribute("aria-labelledby")))
            .map((element) => element.outerHTML)""")
        assert nameless == []
    assert page.locator("#news").get_attribute("aria-live") == "polite"
    assert page.locator("html").get_attribute("lang") == "en"


def test_a_field_that_is_wrong_is_told_in_the_form(page: Page) -> None:
    make(page, seed="seven", steps=2000)
    assert page.locator("#seed-help").inner_text().startswith("Must be a whole number")
    assert page.locator("#steps-help").inner_text() == "Must be a whole number from 1 to 1000."
    assert page.locator("#steps").get_attribute("aria-invalid") == "true"
    assert page.evaluate("document.activeElement.id") == "seed"
    assert page.locator("#problem").is_hidden()
    make(page, seed=2**53 - 1, steps=1, count=2)
    assert "too large" in page.locator("#seed-help").inner_text()


def test_what_the_server_refuses_is_told_in_the_form(page: Page) -> None:
    page.route("**/generate", lambda route: route.continue_(post_data='{"seed": 1, "steps": 0, "sampler": "euler"}'))
    make(page, seed=1)
    page.get_by_role("alert").wait_for()
    assert "A field of the request is not valid" in page.get_by_role("alert").inner_text()
    assert "greater than or equal to 1" in page.locator("#steps-help").inner_text()
    assert page.locator("#sampler").get_attribute("aria-invalid") == "true"
    page.get_by_role("button", name="Close this message").click()
    assert page.locator("#problem").is_hidden()


def test_a_full_queue_is_told_in_words(page: Page) -> None:
    problem = '{"title": "The queue is full", "detail": "Try again in 7 seconds.", "code": "queue-full"}'
    answer = {"status": 429, "content_type": "application/problem+json", "headers": {"Retry-After": "7"}}
    page.route("**/generate", lambda route: route.fulfill(body=problem, **answer))
    make(page, seed=1)
    page.get_by_role("alert").wait_for()
    assert page.get_by_role("alert").inner_text().split("\n")[0] == "The queue is full"
    assert page.locator(".bed").count() == 0


def test_a_service_that_is_gone_is_told_in_words_and_found_again(page: Page) -> None:
    page.context.set_offline(True)
    make(page, seed=1)
    page.get_by_text("The server cannot be reached").wait_for()
    assert page.get_by_role("button", name="Make flowers").is_enabled()
    page.context.set_offline(False)
    make_and_wait(page, seed=700, steps=2, count=1)
    assert page.locator("#problem").is_hidden()


def test_no_rule_of_the_policy_is_broken_and_nobody_else_is_asked(visit: Visit, page: Page) -> None:
    """Every test here ends with that; this one goes everywhere, and shows that a breach would be noticed."""
    make_and_wait(page, seed=750, steps=3, count=2)
    open_flower(page, 750)
    page.keyboard.press("Escape")
    visit.go("/docs")
    page.get_by_role("heading", name="Bouquet").first.wait_for()
    page.locator("details").first.wait_for()
    assert visit.faults == []
    broken = page.evaluate("""() => new Promise((resolve) => {
        const broken = [];
        document.addEventListener("securitypolicyviolation", ({ effectiveDirective }) => {
            if (broken.push(effectiveDirective) === 2) resolve(broken);
        });
        const script = document.createElement("script");
        script.textContent = "window.broken = true";
        document.head.append(script);
        new Image().src = "https://elsewhere.example/flower.png";
    })""")
    assert sorted(broken) == ["img-src", "script-src-elem"]
    assert page.evaluate("window.broken") is None
    assert "Content Security Policy" in " ".join(visit.faults)
    visit.faults.clear()


def test_the_reference_tells_pictures_from_animations(visit: Visit) -> None:
    page = visit.go("/docs")
    for path, kinds in {"/flowers/{seed}.png": "PNG", "/morphs/{seed}-{toward}.webp": "WebP"}.items():
        route = page.locator("details").filter(has=page.locator("summary code", has_text=re.compile(re.escape(path))))
        route.locator("summary").click()
        assert route.get_by_role("row").filter(has_text="200").get_by_role("cell").last.inner_text() == kinds


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_does_not_scroll_sideways(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    make_and_wait(page, seed=2**53 - 4, steps=2, count=3)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    open_flower(page, 2**53 - 3)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.get_by_role("dialog").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    for button in page.get_by_role("dialog").get_by_role("button").all():
        if button.is_visible():
            size = button.bounding_box()
            assert size is not None
            assert min(size["width"], size["height"]) >= 40, "too small for a finger"


def test_dark_and_light(page: Page) -> None:
    assert brightness(page, "body", "backgroundColor") > 0.9
    assert brightness(page, "body", "color") < 0.3
    page.emulate_media(color_scheme="dark")
    assert brightness(page, "body", "backgroundColor") < 0.15
    assert brightness(page, "body", "color") > 0.8


def test_pictures_are_crisp_or_smooth_by_choice(page: Page) -> None:
    make_and_wait(page, seed=800, steps=2, count=1)

    def rendering(selector: str) -> str:
        return str(page.locator(selector).evaluate("element => getComputedStyle(element).imageRendering"))

    assert rendering(GROWN) == "auto"
    page.get_by_label("Crisp pixels").first.check()
    assert rendering(GROWN) == "pixelated"
    open_flower(page, 800)
    assert rendering("#viewer-picture") == "pixelated"
    page.reload()
    assert rendering(GROWN) == "pixelated"
    open_flower(page, 800)
    page.locator("#viewer-crisp").uncheck()
    assert rendering("#viewer-picture") == "auto"


def picture_on(page: Page) -> list[tuple[int, ...]]:
    """The pixels of the large picture, once it is there."""
    file = page.locator("#viewer-picture").evaluate("""async (image) => {
        await image.decode();
        const canvas = document.createElement("canvas");
        canvas.width = image.naturalWidth;
        canvas.height = image.naturalHeight;
        canvas.getContext("2d").drawImage(image, 0, 0);
        return canvas.toDataURL();
    }""")
    return pixels_of(base64.b64decode(file.partition(",")[2]))


def pixels_of(file: bytes) -> list[tuple[int, ...]]:
    with Image.open(io.BytesIO(file)) as image:
        colours = image.convert("RGB").tobytes()
    return [tuple(colours[place : place + 3]) for place in range(0, len(colours), 3)]


def test_a_slider_walks_through_the_growth_of_a_flower(page: Page, service: str) -> None:
    make_and_wait(page, seed=1000, steps=8, count=1, sampler="multistep")
    open_flower(page, 1000)
    slider = page.get_by_role("slider", name="Out of the noise, step by step")
    assert (slider.get_attribute("max"), slider.input_value()) == ("7", "7")
    assert page.locator("#growth-words").inner_text() == "in bloom"
    for step in (1, 5, 3):  # back and forth
        slider.fill(str(step - 1))
        page.locator("#viewer-picture:not(.coming)").wait_for()
        assert page.locator("#growth-words").inner_text() == f"step {step} of 8"
        expected = fetch(f"{service}/flowers/1000.png?steps=8&sampler=multistep&after={step}").content
        assert picture_on(page) == pixels_of(expected)
    slider.fill("7")
    assert picture_on(page) == pixels_of(fetch(f"{service}/flowers/1000.png?steps=8&sampler=multistep").content)
    # From within: it plays for a second, which may be over before anybody looks from outside.
    page.locator("#growth-play").evaluate("""button => {
        window.labels = [];
        const note = () => window.labels.push(button.getAttribute("aria-label"));
        new MutationObserver(note).observe(button, {attributeFilter: ["aria-label"]});
    }""")
    page.get_by_role("button", name="Watch it grow").click()
    has_stopped = "window.labels.includes('Pause') && window.labels.at(-1) === 'Watch it grow'"
    poll(lambda: page.evaluate(has_stopped), "it stops at the end", 60)
    assert page.locator("#growth-words").inner_text() == "in bloom"


def test_many_steps_are_walked_in_fewer(page: Page) -> None:
    make_and_wait(page, seed=1100, steps=100, count=1)
    open_flower(page, 1100)
    slider = page.get_by_role("slider", name="Out of the noise, step by step")
    assert slider.get_attribute("max") == "23"
    slider.fill("0")
    assert page.locator("#growth-words").inner_text() == "step 4 of 100"
    page.locator("#viewer-picture:not(.coming)").wait_for()


def choose_morph(page: Page, start: int, end: int) -> None:
    open_flower(page, start)
    page.get_by_role("button", name="Morph").click()
    page.get_by_text(f"From seed {start}{KIND} to").wait_for()
    page.get_by_role("button", name=f"Enlarge Seed {end}{KIND}", exact=True).click()
    page.get_by_role("heading", name=f"Seed {start} to {end}").wait_for()


def test_a_morph_between_two_flowers(page: Page, service: str) -> None:
    make_and_wait(page, seed=1200, steps=4, count=3)
    choose_morph(page, 1200, 1202)
    with page.expect_download() as started:
        page.locator("#viewer-download").click()
    assert started.value.suggested_filename == "bouquet-1200-to-1202.webp"
    saved = started.value.path().read_bytes()
    with Image.open(io.BytesIO(saved)) as animation:
        assert (animation.format, getattr(animation, "n_frames", 1)) == ("WEBP", 24)
    assert saved == fetch(f"{service}/morphs/1200-1202.webp?frames=24&steps=4").content
    source = page.locator("#viewer-picture").get_attribute("src")
    page.get_by_role("button", name="Pause").click()
    assert picture_on(page) == pixels_of(fetch(f"{service}/flowers/1200.png?steps=4").content)
    page.get_by_role("button", name="Play").click()
    assert page.locator("#viewer-picture").get_attribute("src") == source


def test_choosing_can_be_given_up(page: Page) -> None:
    make_and_wait(page, seed=1300, steps=2, count=2)
    for give_up in (
        lambda: page.keyboard.press("Escape"),
        lambda: page.get_by_role("region", name="Morph").get_by_role("button", name="Cancel").click(),
    ):
        open_flower(page, 1300)
        page.get_by_role("button", name="Morph").click()
        page.get_by_text(f"From seed 1300{KIND} to").wait_for()
        give_up()
        page.get_by_text(f"From seed 1300{KIND} to").wait_for(state="hidden")
    open_flower(page, 1301)
    assert page.get_by_role("dialog").get_by_role("heading").inner_text() == f"Seed 1301{KIND}"


def test_who_wants_less_motion_gets_less(page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    make_and_wait(page, seed=1400, steps=3, count=2)
    assert page.evaluate("document.getAnimations().length") == 0
    choose_morph(page, 1400, 1401)
    page.get_by_role("button", name="Play").click()  # it does not begin by itself
    page.get_by_role("button", name="Pause").wait_for()


def test_trouble_in_the_large_view_is_told_there(page: Page) -> None:
    make_and_wait(page, seed=1500, steps=6, count=2)
    page.route("**/*-after*.png", lambda route: route.abort())
    page.route("**/morphs/**", lambda route: route.abort())
    open_flower(page, 1500)
    slider = page.get_by_role("slider", name="Out of the noise, step by step")
    slider.fill("1")
    page.get_by_role("dialog").get_by_text("The server cannot be reached").wait_for()
    page.unroute("**/*-after*.png")
    slider.fill("2")  # another look is another try
    page.locator("#viewer-picture:not(.coming)").wait_for()
    page.get_by_role("dialog").get_by_text("The server cannot be reached").wait_for(state="hidden")
    page.keyboard.press("Escape")
    choose_morph(page, 1500, 1501)
    page.get_by_role("dialog").get_by_text("The server cannot be reached").wait_for()


def test_a_wish_may_come_with_the_address(visit: Visit) -> None:
    page = visit.go("/?seed=7&steps=33&count=2&sampler=multistep&kind=kind+0")
    page.get_by_label("Kind").wait_for()
    values = [page.locator(f"#{name}").input_value() for name in ("seed", "steps", "count", "sampler", "kind")]
    assert values == ["7", "33", "2", "multistep", "kind 0"]


def test_a_page_that_was_opened_before_the_model_was_there_learns_of_it(visit: Visit, page: Page) -> None:
    page.clock.install()
    page.route("**/model", lambda route: route.abort())
    visit.go("/?seed=1900&steps=3&count=1&kind=kind+0")
    page.get_by_text("The server cannot be reached").wait_for()
    # Over the one before, which stays: with none in between the page might ask just then.
    page.route("**/model", lambda route: answer_with(route, 503, "not-ready", "The service is not ready", "1"))
    page.clock.fast_forward(5000)
    page.get_by_text("No worker has told its model yet").wait_for()
    with page.expect_request("**/generate") as sent:
        page.click("#make")
    assert sent.value.post_data_json["kind"] == "kind 0"
    page.unroute("**/model")
    page.get_by_text("Grown by tiny, 16 × 16 pixels").wait_for()
    assert page.locator("#kind option").all_inner_texts() == ["Any", "kind 0"]
    assert page.locator("#kind").input_value() == "kind 0"


def test_a_kind_of_the_address_can_be_given_up_before_the_model_is_there(visit: Visit, page: Page) -> None:
    page.route("**/model", lambda route: answer_with(route, 503, "not-ready", "The service is not ready", "1"))
    visit.go("/?seed=1910&steps=3&count=1&kind=kind+0")
    page.get_by_label("Kind").select_option("Any")
    with page.expect_request("**/generate") as sent:
        page.click("#make")
    assert sent.value.post_data_json["kind"] is None
    page.unroute("**/model")
    page.get_by_text("Grown by tiny, 16 × 16 pixels").wait_for()
    assert page.locator("#kind").input_value() == ""


@pytest.mark.parametrize(
    ("address", "steps", "sampler"),
    [
        ("/?seed=7&steps=33", "33", "ddim"),  # as the API takes a request that names no sampler
        ("/?seed=7&sampler=ddim", "20", "ddim"),
        ("/?seed=7&count=2", "8", "multistep"),
        ("/?sampler=multistep", "8", "multistep"),
    ],
)
def test_an_address_may_name_steps_or_a_sampler_alone(visit: Visit, address: str, steps: str, sampler: str) -> None:
    page = visit.go(address)
    assert page.locator("#steps").input_value() == steps
    assert page.locator("#steps-slider").input_value() == steps
    assert page.locator("#sampler").input_value() == sampler


def test_a_sampler_of_the_address_that_there_is_none_of_is_told(visit: Visit) -> None:
    page = visit.go("/?seed=1930&count=1&sampler=dimm")
    assert page.locator("#sampler option").all_inner_texts() == ["Multistep", "DDIM", "dimm"]
    page.click("#make")
    page.locator("#sampler-help").get_by_text("'ddim' or 'multistep'").wait_for()
    assert page.locator("#sampler").get_attribute("aria-invalid") == "true"
    page.select_option("#sampler", "ddim")
    assert page.locator("#steps").input_value() == "20"
    make_and_wait(page, seed=1930, steps=3, count=1)


def test_another_sampler_brings_its_number_of_steps_unless_one_was_chosen(page: Page) -> None:
    for sampler, steps in (("ddim", "20"), ("multistep", "8")):
        page.select_option("#sampler", sampler)
        assert page.locator("#steps").input_value() == steps
        assert page.locator("#steps-slider").input_value() == steps
    page.fill("#steps", "33")
    page.select_option("#sampler", "ddim")
    assert page.locator("#steps").input_value() == "33"


def test_a_kind_can_be_chosen_of_those_that_the_model_knows(page: Page, service: str) -> None:
    page.get_by_label("Kind").wait_for()
    assert page.locator("#kind option").all_inner_texts() == ["Any", "kind 0"]
    make_and_wait(page, seed=1600, steps=4, count=2, kind="kind 0")
    assert page.get_by_text("Seeds 1600 to 1601, kind 0, 4 steps").is_visible()
    picture = page.get_by_role("button", name=f"Enlarge Seed 1600{KIND}", exact=True).locator("img")
    address = picture.get_attribute("src") or ""  # waits: what is seen in bloom is put there once it is loaded
    assert address.endswith("-1600-4-of-kind_0.png")
    assert fetch(f"{service}{address}").content == fetch(f"{service}/flowers/1600.png?steps=4&kind=kind 0").content
    with page.expect_download() as started:
        page.get_by_role("link", name="Save Seed 1600").click()
    assert started.value.suggested_filename == "bouquet-1600-4-kind-0.png"
    page.reload()
    assert page.get_by_text("Seeds 1600 to 1601, kind 0, 4 steps").is_visible()
    with page.expect_request("**/generate") as sent:
        page.get_by_role("button", name="More like Seed 1600").click()
    assert sent.value.post_data_json["kind"] == "kind 0"
    page.get_by_role("button", name=f"Enlarge Seed 1604{KIND}", exact=True).wait_for()


def test_a_kind_of_the_address_that_the_model_does_not_know_is_told(visit: Visit, page: Page) -> None:
    visit.go("/?seed=1920&steps=3&count=1&kind=knid+0")
    page.get_by_text("Grown by tiny, 16 × 16 pixels").wait_for()
    assert page.locator("#kind option").all_inner_texts() == ["Any", "kind 0", "knid 0"]
    page.click("#make")
    page.locator("#kind-help").get_by_text("kind 0").wait_for()  # the one that it looks like
    assert page.locator("#kind").get_attribute("aria-invalid") == "true"
    make_and_wait(page, seed=1920, steps=3, count=1, kind="kind 0")


def test_a_flower_of_a_chosen_kind_is_morphed_within_it(page: Page) -> None:
    make_and_wait(page, seed=1700, steps=4, count=1, kind="kind 0")
    make_and_wait(page, seed=1701, steps=4, count=1, kind="")
    with page.expect_request("**/morphs/**") as sent:
        choose_morph(page, 1700, 1701)
    assert sent.value.url.endswith("&kind=kind%200")
