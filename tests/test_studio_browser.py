"""`unrender studio` in Chromium, as a person uses it (`make browser`)."""

from __future__ import annotations

import base64
import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

PATIENCE = 300_000
"""Milliseconds: the machine may be busy."""

DRAWN = """() => {
  const shown = document.querySelector('#after'), canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [shown.naturalWidth, shown.naturalHeight];
  canvas.getContext('2d').drawImage(shown, 0, 0);
  return canvas.toDataURL('image/png');
}"""

SETTLED = """() => {
  const told = document.body.dataset;
  return told.fine === 'true' && told.shown === told.wished;
}"""

UNNAMED = """() => [...document.querySelectorAll('button, input, select, [role=slider], [role=tab], [role=radio], img')]
  .filter((one) => !one.hidden && !(one.labels && one.labels.length) && !one.getAttribute('aria-label')
    && !one.textContent.trim() && one.alt === undefined).map((one) => one.outerHTML)"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A studio of its own, as the command starts it."""
    command = [sys.executable, "-m", "unrender", "studio", "--no-browser", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()
        assert process.wait(30) == 143


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path is not None, "no Chromium; expected the distribution's, apt-get install chromium"
    nowhere = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", nowhere])
        yield browser
        browser.close()


class Visitor:
    """A visitor's window, which notes what it asks for and what goes wrong."""

    def __init__(self, browser: Any, address: str) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
        self.page, self.address = self.context.new_page(), address
        self.asked: list[str] = []
        self.wrong: list[str] = []
        self.page.set_default_timeout(PATIENCE)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)
        self.page.on("dialog", lambda dialog: self.wrong.append(f"dialog {dialog.message}"))
        self.page.goto(address)
        self.page.wait_for_selector("body[data-ready]")

    def open(self, body: bytes, name: str = "ball.png") -> None:
        self.page.set_input_files("#file", {"name": name, "mimeType": "application/octet-stream", "buffer": body})

    def fine(self) -> None:
        """Waits until what is set is drawn with shadows."""
        self.page.wait_for_function(SETTLED)

    def after(self) -> np.ndarray:
        """The new picture, (H, W, 3) in [0, 1]."""
        data = self.page.evaluate(DRAWN)
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB")) / 255

    def drag(self, selector: str, x: float, y: float) -> None:
        """Drags the middle of something to a place that is a share of the dome."""
        mark, dome = self.page.locator(selector).bounding_box(), self.page.locator("#dome").bounding_box()
        self.page.mouse.move(mark["x"] + mark["width"] / 2, mark["y"] + mark["height"] / 2)
        self.page.mouse.down()
        for step in range(1, 6):
            share = step / 5
            to_x, to_y = dome["x"] + x * dome["width"], dome["y"] + y * dome["height"]
            self.page.mouse.move(mark["x"] + share * (to_x - mark["x"]), mark["y"] + share * (to_y - mark["y"]))
        self.page.mouse.up()
        self.fine()

    def told(self, *words: str) -> None:
        """Waits until the page says one of `words`."""
        said = "|".join(words)
        self.page.wait_for_function(
            "words => new RegExp(words).test(document.querySelector('#status').textContent)", arg=said
        )

    def shoot(self, name: str) -> None:
        """Keeps a picture of the page where the environment says so."""
        folder = os.environ.get("UNRENDER_SCREENSHOTS")
        if folder:
            shot = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
            shot.save(Path(folder) / f"studio-{name}.jpg", quality=86, optimize=True)


@pytest.fixture
def visitor(chromium: Any, address: str) -> Iterator[Visitor]:
    opened = Visitor(chromium, address)
    yield opened
    assert opened.wrong == []
    outside = [url for url in opened.asked if not url.startswith((address, "blob:", "data:"))]
    assert outside == []
    opened.context.close()


def ball(side: int = 256) -> bytes:
    """A photo of a clay ball on a grey table, lit from above in front."""
    y, x = np.mgrid[1 : -1 : side * 1j, -1 : 1 : side * 1j] * 1.25
    inside = x * x + y * y < 0.7
    z = np.sqrt(np.clip(0.7 - x * x - y * y, 0, None)) / np.sqrt(0.7)
    shade = 0.15 + 0.75 * np.clip(0.5 * y / np.sqrt(0.7) + 0.85 * z, 0, 1)
    picture = np.where(inside[..., None], shade[..., None] * [0.85, 0.6, 0.45], 0.35 - 0.05 * y[..., None])
    kept = io.BytesIO()
    Image.fromarray((np.clip(picture, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)).save(kept, format="PNG")
    return kept.getvalue()


def test_a_photo_comes_apart_and_the_light_follows_the_hand(visitor, tmp_path):
    page = visitor.page
    visitor.open(ball())
    page.wait_for_selector("body[data-shown]")
    visitor.fine()
    page.fill("#strength", "-6")
    page.click("#add-lamp")
    visitor.drag(".lamp-mark", 0.76, 0.4)
    right = visitor.after().mean(2)
    visitor.drag(".lamp-mark", 0.24, 0.4)
    left = visitor.after().mean(2)
    rows, half = slice(96, 160), right.shape[1] // 2
    east, west = ((rows, slice(half + at - 25, half + at + 25)) for at in (45, -45))
    lean = [float(one[east].mean() / one[west].mean()) for one in (right, left)]
    assert lean[0] > 1.15 * lean[1]
    assert "studio-light.exr" in page.inner_text("#command")

    page.click('#maps [data-map="normal"]')
    page.hover("#frame", position={"x": 200, "y": 200})
    page.wait_for_selector("#value:not([hidden])")
    numbers = [float(word) for word in page.inner_text("#value").split()[2:]]
    assert len(numbers) == 3
    assert abs(sum(n * n for n in numbers) - 1) < 0.02

    page.click("#tab-save")
    page.click("#save-picture")
    page.wait_for_selector("#results a")
    with page.expect_download() as loading:
        page.click("#results a:text('relit.exr')")
    loading.value.save_as(tmp_path / "relit.exr")
    import OpenEXR

    with OpenEXR.File(str(tmp_path / "relit.exr"), separate_channels=True) as file:
        layers = {name.rpartition(".")[0] for name in file.channels()}
    assert {"", "diffuse", "specular", "background"} <= layers


def test_the_sample_is_one_click_away_and_looks_well(visitor):
    page = visitor.page
    visitor.shoot("welcome")
    began = time.monotonic()
    page.click("#sample")
    page.wait_for_selector("body[data-shown]")
    print(f"a relit photo after {time.monotonic() - began:.1f} s")
    assert page.evaluate(UNNAMED) == []
    visitor.fine()
    page.focus("#dome")
    before = page.inner_text("#command")
    for _ in range(14):
        page.keyboard.press("ArrowLeft")
    page.wait_for_function("old => document.querySelector('#command').textContent !== old", arg=before)
    assert "--yaw" in page.inner_text("#command")
    visitor.fine()
    page.focus("#divider")
    for _ in range(6):
        page.keyboard.press("ArrowLeft")
    assert page.get_attribute("#divider", "aria-valuenow") == "38"
    page.mouse.move(640, 790)
    visitor.shoot("light")
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.click('#maps [data-map="depth"]')
    page.hover("#frame", position={"x": 300, "y": 260})
    page.wait_for_selector("#value:not([hidden])")
    visitor.shoot("maps")

    page.click("#tab-material")
    page.click('#maps [data-map="relit"]')
    page.focus("#divider")
    page.keyboard.press("Home")
    page.fill("#brush-size", "64")
    page.click("#brush")
    box = page.locator("#frame").bounding_box()

    def at(x: float, y: float) -> tuple[float, float]:
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    page.mouse.move(*at(0.17, 0.58))
    page.mouse.down()
    for x, y in ((0.2, 0.72), (0.28, 0.84), (0.4, 0.9), (0.52, 0.91), (0.64, 0.86), (0.72, 0.76), (0.76, 0.62)):
        page.mouse.move(*at(x, y), steps=3)
    page.mouse.up()
    page.fill("#color", "#2f6fd0")
    page.dispatch_event("#color", "input")
    unchanged = visitor.after()
    page.click("#apply")
    visitor.told("Changed")
    page.wait_for_function("() => document.querySelector('#command').textContent.includes('--set')")
    visitor.fine()
    visitor.shoot("material")
    changed = visitor.after()
    height, width = changed.shape[:2]
    there = (slice(int(0.87 * height), int(0.91 * height)), slice(int(0.4 * width), int(0.52 * width)))
    bluer = [float((one[there][..., 2] - one[there][..., 0]).mean()) for one in (unchanged, changed)]
    assert bluer[1] > bluer[0] + 0.1
    page.click("#tab-save")
    page.click("#save-picture")
    page.wait_for_selector("#results a:text('studio-mask.png')")
    assert page.locator("#results a:text('coffee.edited.exr')").count() == 1


def test_a_hostile_upload_is_said_in_one_line_and_nothing_else(visitor):
    page = visitor.page
    visitor.open(b"<script>alert(1)</script>", '<img src=x onerror="alert(1)">.html')
    visitor.told("expected", "not", "cannot")
    assert page.locator("#status img").count() == 0
    assert page.locator("#welcome").is_visible()
    visitor.open(ball(64), "../../<b>ball</b>.png")
    page.wait_for_selector("body[data-shown]")
    assert page.locator("b").count() == 0
    assert "/" not in page.inner_text("#command").split()[2]


def test_two_visitors_at_once_see_their_own_photos(chromium, address):
    both = [Visitor(chromium, address) for _ in range(2)]
    for one, side in zip(both, (96, 64), strict=True):
        one.open(ball(side), f"ball{side}.png")
    for one in both:
        one.page.wait_for_selector("body[data-shown]")
    assert [one.after().shape[0] for one in both] == [96, 64]
    stages = [next(url for url in one.asked if "/photo.jpg" in url) for one in both]
    assert both[0].context.request.get(stages[0]).status == 200
    assert both[0].context.request.get(stages[1]).status == 404
    for one in both:
        assert one.wrong == []
        one.context.close()
