"""The page in a real browser, driven as a person would."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from framecast.data.episodes import EpisodeStore
from framecast.pusher.env import PusherEnv
from framecast.steering import serving as commands
from tests.steering.conftest import Served, serving

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1440, "height": 900}
Shift = tuple[int, int]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser was found (looked for {', '.join(BROWSERS)})")
    with playwright.sync_playwright() as tools:
        running = tools.chromium.launch(executable_path=path, args=FLAGS)
        yield running
        running.close()


class Page:
    """One open page that fails on whatever its console complains about."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.context = browser.new_context(**({"viewport": DESKTOP} | options))
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda m: m.type in ("error", "warning") and self.hear(m.text))
        self.page.on("pageerror", lambda error: self.hear(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.url = url
        self.page.goto(url)
        self.wait("window.framecast && framecast.current && !framecast.connection.busy")

    def hear(self, complaint: str) -> None:
        self.complaints.append(complaint)

    def wait(self, condition: str) -> None:
        """Until it is true; asked from outside, as the page's policy forbids to evaluate text."""
        end = time.monotonic() + 60
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < end, condition
            time.sleep(0.03)

    def run(self, script: str) -> Any:
        return self.page.evaluate(script)

    @property
    def moment(self) -> dict[str, Any]:
        return self.run("framecast.current")

    def rest(self) -> None:
        """Wait until nothing is under way."""
        self.wait("!framecast.driver.stepping && !framecast.connection.busy")

    def frame(self, of: str = "frames[framecast.chosen]") -> NDArray[np.uint8]:
        """Pixels as the page has them."""
        size = self.run("[framecast.welcome.height, framecast.welcome.width]")
        return np.array(self.run(f"Array.from(framecast.{of})"), np.uint8).reshape(*size, 3)

    def shown(self, canvas: str) -> NDArray[np.uint8]:
        """Pixels as a canvas shows them."""
        script = f"""(() => {{
            const c = document.getElementById("{canvas}");
            const image = c.getContext("2d").getImageData(0, 0, c.width, c.height);
            return [c.height, c.width, Array.from(image.data)];
        }})()"""
        height, width, values = self.run(script)
        return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]

    def drag(self, across: float, down: float, steps: int) -> None:
        """Press on the end effector and pull it, by shares of the picture, for so many steps."""
        box = self.page.locator("#stage-overlay").bounding_box()
        x, y = self.run("framecast.stage.handle()")
        depth = self.moment["depth"]
        mouse = self.page.mouse
        mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        mouse.down()
        mouse.move(box["x"] + (x + across) * box["width"], box["y"] + (y + down) * box["height"])
        self.wait(f"framecast.current.depth >= {depth + steps}")
        mouse.up()
        self.rest()

    def close(self) -> None:
        self.context.close()
        assert self.complaints == []
        assert all(url.startswith((self.url.split("#")[0], "blob:")) for url in self.asked)


def place_of_a_thing(page: Page) -> tuple[float, float]:
    """Of the thing nearest to the middle, as a share of the picture."""
    env = PusherEnv(16)
    _, info = env.reset(seed=page.moment["start"]["number"])
    places = info["object_positions"]
    nearest = places[np.linalg.norm(places[:, :2], axis=1).argmin()]
    across, down = env.camera.project(nearest, 1)
    return float(across), float(down)


@pytest.fixture
def open_page(browser: Any, served: Served) -> Iterator[Callable[..., Page]]:
    pages: list[Page] = []

    def open_one(url: str = served.url, **options: Any) -> Page:
        pages.append(Page(browser, url, **options))
        return pages[-1]

    yield open_one
    for page in pages:
        page.close()


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    return open_page()


def shift_between(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> Shift:
    """By how many pixels (across, down) the picture moved as a whole."""
    spectrum = np.fft.fft2(before.mean(axis=-1)).conj() * np.fft.fft2(after.mean(axis=-1))
    peak = np.fft.ifft2(spectrum / np.maximum(np.abs(spectrum), 1e-9)).real
    down, across = np.unravel_index(peak.argmax(), peak.shape)
    height, width = peak.shape
    return (
        int(across + width // 2) % width - width // 2,
        int(down + height // 2) % height - height // 2,
    )


def test_the_page_loads_and_shows_a_start(page: Page):
    assert page.moment["depth"] == 0
    assert page.page.title() == "mover · framecast"
    np.testing.assert_array_equal(page.shown("stage-picture"), page.frame())
    np.testing.assert_array_equal(page.shown("truth-picture"), page.frame("truth"))
    assert page.run("document.getElementById('link-state').dataset.state") == "live"


@pytest.mark.parametrize(
    ("across", "down", "axis", "sign"),
    [(0.3, 0, 0, 1), (-0.3, 0, 0, -1), (0, 0.3, 1, 1), (0, -0.3, 1, -1)],
)
def test_a_drag_moves_the_frames_in_its_direction(
    page: Page, across: float, down: float, axis: int, sign: int
):
    before = page.frame()
    page.drag(across, down, steps=2)
    shift = shift_between(before, page.frame())
    assert shift[axis] * sign >= 6
    assert abs(shift[1 - axis]) <= 8
    action = page.moment["action"]
    assert action[axis] * sign * (1, -1)[axis] > 0
    np.testing.assert_array_equal(page.shown("stage-picture"), page.frame())


def test_the_truth_moves_with_the_drag(page: Page):
    before, handle = page.frame("truth"), page.moment["true_handle"]
    across = 0.3 if handle[0] < 0.5 else -0.3
    page.drag(across, 0, steps=3)
    assert (page.frame("truth") != before).any()
    assert (page.moment["true_handle"][0] - handle[0]) * across > 0.01
    assert page.run("document.getElementById('psnr').textContent").endswith("dB")


def test_a_drag_answers_within_a_second(page: Page):
    page.run(
        "framecast.first = null; framecast.on('view', () => framecast.first ??= performance.now())"
    )
    page.run("addEventListener('pointerdown', () => framecast.pressed = performance.now(), true)")
    page.drag(0.2, 0, steps=1)
    assert page.run("framecast.first - framecast.pressed") < 1000


def test_undo_restores_the_exact_frame_and_redo_the_other(page: Page):
    page.drag(0.3, 0.1, steps=2)
    page.page.keyboard.press("Home")
    page.rest()
    page.drag(0.3, 0, steps=1)
    first, number = page.frame(), page.moment["moment"]
    page.drag(0, 0.3, steps=1)
    second = page.frame()
    depth = page.moment["depth"]
    while page.moment["moment"] != number:
        page.page.click("#undo")
        page.rest()
    np.testing.assert_array_equal(page.frame(), first)
    while page.moment["depth"] < depth:
        page.page.click("#redo")
        page.rest()
    np.testing.assert_array_equal(page.frame(), second)


def test_a_branch_keeps_its_parent(page: Page):
    page.drag(0.3, 0, steps=2)
    old, old_frame = page.moment["moment"], page.frame()
    page.run("framecast.timeline.go(1)")
    page.wait("framecast.current.moment == 1")
    page.drag(-0.3, 0, steps=1)
    branch = page.run("framecast.line()")
    assert branch[:2] == [0, 1]
    assert old not in branch
    page.run(f"framecast.timeline.go({old})")
    page.wait(f"framecast.current.moment == {old}")
    np.testing.assert_array_equal(page.frame(), old_frame)


def test_a_click_on_the_timeline_goes_there(page: Page):
    page.drag(0.3, 0, steps=3)
    box = page.page.locator("#tree").bounding_box()
    x, y = page.run("framecast.timeline.places.get(1)")
    page.page.mouse.click(box["x"] + x, box["y"] + y)
    page.wait("framecast.current.moment == 1")


def test_a_seed_reproduces_a_future(open_page: Callable[..., Page]):
    frames = []
    for _ in range(2):
        page = open_page()
        page.page.fill("#seed", "77")
        page.page.press("#seed", "Enter")
        page.rest()
        page.page.locator("#stage-overlay").focus()
        page.page.keyboard.press("Enter")
        page.wait("framecast.current.depth == 1")
        frames.append(page.frame())
    np.testing.assert_array_equal(*frames)
    page.page.keyboard.press("r")
    page.wait("framecast.current.step_seed != 77")
    page.rest()
    assert (page.frame() != frames[0]).any()
    assert page.moment["depth"] == 1


def test_futures_are_counted_compared_and_chosen(page: Page):
    page.page.keyboard.press("5")
    page.wait("framecast.frames.length == 5")
    page.drag(0.3, 0, steps=1)
    assert page.page.locator(".future:not(.vacant)").count() == 5
    assert page.shown("heat-picture").max() > 100
    page.page.locator(".future").nth(3).click()
    assert page.run("framecast.chosen") == 3
    np.testing.assert_array_equal(page.shown("stage-picture"), page.frame("frames[3]"))
    page.page.locator(".switch").click()
    page.wait("framecast.settings.latent === false && !framecast.connection.busy")
    page.drag(-0.2, 0, steps=1)
    frames = [page.frame(f"frames[{index}]") for index in range(5)]
    drawn_together = page.run("framecast.current.step_seed") is None
    assert drawn_together
    assert len({frame.tobytes() for frame in frames}) > 1, "what they were before stays"


def test_arrow_keys_and_sliders_command_too(page: Page):
    before = page.frame()
    page.page.locator("#stage-overlay").focus()
    page.page.keyboard.down("ArrowRight")
    page.wait("framecast.current.depth >= 2")
    page.page.keyboard.up("ArrowRight")
    page.rest()
    assert shift_between(before, page.frame())[0] >= 6
    gripper = page.page.locator(".slider input").nth(3)
    gripper.focus()
    page.page.keyboard.press("End")
    page.page.locator("#step").click()
    page.rest()
    assert page.moment["action"][3] == 1
    page.page.locator("#stage-overlay").focus()
    page.page.keyboard.press("g")
    page.page.locator("#step").click()
    page.rest()
    assert page.moment["action"][3] == -1


def test_a_shared_link_opens_the_same_frame(page: Page, open_page: Callable[..., Page]):
    page.page.keyboard.press("3")
    page.wait("framecast.frames.length == 3")
    page.drag(0.3, 0, steps=2)
    page.page.keyboard.press("r")
    page.rest()
    page.page.click("#share")
    page.wait("document.getElementById('link-text').value !== ''")
    link = page.page.input_value("#link-text")
    other = open_page(link)
    other.wait(f"framecast.current.depth == {page.moment['depth']}")
    other.rest()
    for index in range(3):
        frame = f"frames[{index}]"
        np.testing.assert_array_equal(other.frame(frame), page.frame(frame))


def test_a_broken_link_says_so_and_starts_afresh(open_page: Callable[..., Page], served: Served):
    page = open_page(served.url + "#s=AAAA")
    assert page.moment["depth"] == 0
    assert "link is cut off" in page.page.inner_text("#toast")


def test_another_start_is_chosen_from_the_sheet(page: Page):
    before = page.frame()
    page.page.click("#choose")
    assert page.page.locator(".tile").count() == 6
    page.page.locator(".tile").nth(2).click()
    page.wait("framecast.current.start.number == 2")
    page.rest()
    assert (page.frame() != before).any()
    page.page.click("#fresh")
    page.wait("framecast.current.start.number >= 100")


def test_a_session_is_saved_as_a_film_and_as_numbers(page: Page):
    page.drag(0.3, 0, steps=3)
    depth = page.moment["depth"]
    with page.page.expect_download() as film:
        page.page.click("#save-gif")
    with Image.open(film.value.path()) as picture:
        assert picture.n_frames == depth + 2
    with page.page.expect_download() as numbers:
        page.page.click("#save-npz")
    content = Path(numbers.value.path()).read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as saved:
        np.testing.assert_array_equal(saved["futures"][-1, 0], page.frame())


def test_a_lost_connection_comes_back_to_the_same_moment(page: Page):
    page.drag(0.3, 0, steps=2)
    frame, depth = page.frame(), page.moment["depth"]
    page.run("framecast.connection.socket.close()")
    page.wait("document.getElementById('link-state').dataset.state === 'lost'")
    page.wait(
        f"framecast.connection.socket.readyState === 1 && framecast.current.depth === {depth}"
        " && framecast.moments.size === " + str(depth + 1)
    )
    page.rest()
    np.testing.assert_array_equal(page.frame(), frame)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_everything_fits_and_a_finger_drags(
    open_page: Callable[..., Page], viewport: dict[str, int], scheme: str
):
    touch = viewport is PHONE
    page = open_page(viewport=viewport, color_scheme=scheme, has_touch=touch, is_mobile=touch)
    width, inner = page.run("[document.documentElement.scrollWidth, innerWidth]")
    assert width <= inner == viewport["width"]
    if not touch:
        assert page.run("document.documentElement.scrollHeight <= innerHeight")
    assert page.run("document.documentElement.dataset.theme") == scheme
    page.page.click("#theme")
    assert page.run("document.documentElement.dataset.theme") != scheme
    if touch:
        before = page.frame()
        finger_drag(page)
        assert shift_between(before, page.frame())[0] >= 6


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_a_plan_is_pointed_out_watched_run_and_stopped(
    open_page: Callable[..., Page], viewport: dict[str, int]
):
    touch = viewport is PHONE
    page = open_page(viewport=viewport, has_touch=touch, is_mobile=touch)
    press = page.page.touchscreen.tap if touch else page.page.mouse.click
    page.run("framecast.rounds = []; framecast.on('round', (one) => framecast.rounds.push(one))")
    page.page.click("#plan")
    box = page.page.locator("#stage-overlay").bounding_box()
    thing = place_of_a_thing(page)
    for across, down in (thing, (thing[0] + 0.1, thing[1])):
        press(box["x"] + across * box["width"], box["y"] + down * box["height"])
    page.wait("framecast.plan.phase === 'ready'")
    rounds = page.run("framecast.rounds")
    assert [one["index"] for one in rounds] == [1, 2]
    assert all(len(one["gripper"]) == 32 and len(one["elites"]) == 4 for one in rounds)
    assert page.page.inner_text("#stage-title") == "Imagined", "the best future is shown"
    assert page.moment["depth"] == 0, "nothing has been done yet"
    width, inner = page.run("[document.documentElement.scrollWidth, innerWidth]")
    assert width <= inner
    page.page.click("#plan-run")
    page.wait("framecast.plan.steps >= 3")
    assert page.page.inner_text("#stage-title") == "Truth"
    assert page.page.inner_text("#plan-run") == "Stop"
    page.page.click("#plan-run")
    page.rest()
    depth = page.moment["depth"]
    assert depth >= 3
    assert page.page.inner_text("#plan-note").startswith("stopped")
    np.testing.assert_array_equal(page.frame("stage.cover.pixels"), page.frame("truth"))
    page.page.click("#undo")
    page.rest()
    assert page.moment["depth"] == depth - 1
    page.page.click("#plan")
    np.testing.assert_array_equal(page.shown("stage-picture"), page.frame())


def test_a_plan_is_made_by_keys_alone(page: Page):
    keys = page.page.keyboard
    keys.press("t")
    aim = [0.5, 0.5]
    for wanted in (place_of_a_thing(page), (0.6, 0.6)):
        for axis, arrows in enumerate(("Left Right", "Up Down")):
            arrow = arrows.split()[int(wanted[axis] > aim[axis])]
            for _ in range(round(abs(wanted[axis] - aim[axis]) / 0.02)):
                keys.press(f"Arrow{arrow}")
        aim = page.run("framecast.plan.cursor || [0.5, 0.5]")
        keys.press("Enter")
    assert page.moment["depth"] == 0, "the arrow keys moved the cross and not the arm"
    page.wait("framecast.plan.phase === 'ready'")
    keys.press("Space")
    page.wait("framecast.plan.steps >= 1")
    keys.press("Escape")
    assert page.run("framecast.plan.phase") == "ready"
    keys.press("Escape")
    assert page.run("framecast.plan.phase") == "off"
    page.rest()
    keys.press("t")
    keys.press("Enter")
    keys.press("Escape")
    assert page.run("[framecast.plan.phase, framecast.plan.thing]") == ["object", None]


def finger_drag(page: Page) -> None:
    """One finger, from the end effector to the right."""
    box = page.page.locator("#stage-overlay").bounding_box()
    x, y = page.run("framecast.stage.handle()")
    place = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
    tools = page.context.new_cdp_session(page.page)
    touch = lambda kind, points: tools.send(  # noqa: E731
        "Input.dispatchTouchEvent", {"type": kind, "touchPoints": points}
    )
    touch("touchStart", [place])
    touch("touchMove", [place | {"x": place["x"] + 0.3 * box["width"]}])
    page.wait("framecast.current.depth >= 2")
    touch("touchEnd", [])
    page.rest()


def test_recorded_actions_are_replayed_then_departed_from(
    browser: Any, run_folder: Path, squares: Path
):
    steering = commands.prepare(run_folder, None, squares, "test", None, threads=1)
    with serving(steering) as served:
        page = Page(browser, served.url)
        store = EpisodeStore.open(squares, "test")
        page.page.click("#replay")
        page.wait("framecast.current.depth >= 3")
        page.page.click("#replay")
        page.rest()
        depth = page.moment["depth"]
        np.testing.assert_array_equal(page.frame("truth"), store.episode(0).frames[1 + depth])
        assert page.page.inner_text("#truth-note") == "recording"
        page.page.click("#step")
        page.rest()
        assert page.page.inner_text("#truth-note") == "recording, departed from"
        page.close()
