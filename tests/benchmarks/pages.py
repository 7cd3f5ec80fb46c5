"""What a visitor of the dashboard waits for, in a real Chromium against one server.

Times are read in the browser: from the key or click until the change is painted, in steps of a frame. Between two
interactions the page comes to rest.
"""

import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, WebSocket

from dashboard.pages import PAGES
from tests.benchmarks.harness import Row
from tests.browser.driver import (
    WAIT_MS,
    drag_slider,
    expect_no_exception,
    maps,
    open_page,
    running_browser,
    wait_until_idle,
)
from tests.browser.server import Server, running_server

WINDOW = {"width": 1440, "height": 900}
REPEATS = 15
SIDE = 14  # patches a side, of the toy and of ViT-B-16 at 224 px
INTERACTIONS, WARM_UP, SAMPLES = 200, 50, 10
MOVES_TO_THE_RIGHT = 75  # of the 80 steps of alpha from 1 to 5
SETTLED_S = 0.35  # how long a page has to rest, see `wait_until_idle`

MODELS: dict[str, dict[str, str]] = {
    "toy": {},
    "ViT-B-16, random weights": {"model": "ViT-B-16", "weights": "random"},
}
VIEW = {"image": "toy-1", "p": ["a red flower", "sand"], "region": "object:a red flower"}
WARMING = {"image": "toy-0", "p": ["a pink circle"], "region": "object:a pink circle"}

REMEMBER_SENDING = """
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (...data) {
    window.sent ??= performance.now();
    return send.apply(this, data);
};
"""
# The lap starts with `event` and ends when the texts hold `wanted` (where it is empty: have changed) and are painted.
START_LAP = """(node, [event, selector, wanted]) => {
    const root = node.getRootNode();
    const read = () => [...root.querySelectorAll(selector)].map((n) => n.dataset.mean ?? n.textContent).join("\\n");
    const before = read();
    const done = () => wanted ? read().includes(wanted) : ![before, ""].includes(read());
    window.lap = undefined;
    addEventListener(event, () => {
        const start = performance.now();
        window.sent = undefined;
        const stop = () => { window.lap = { total: performance.now() - start, sent: window.sent - start }; };
        const look = () => requestAnimationFrame(done() ? stop : look);
        look();
    }, { capture: true, once: true });
}"""


@dataclass(frozen=True, slots=True)
class Stage:
    """What every measurement gets.

    Attributes:
        browser: a running Chromium.
        server: the one dashboard.
        query: parameters of the address: model and view.
    """

    browser: Browser
    server: Server
    query: Mapping[str, str | list[str]]

    @contextmanager
    def visitor(self) -> Iterator[Page]:
        """A page of a visitor with an empty browser cache."""
        context = self.browser.new_context(viewport=WINDOW)
        try:
            context.set_default_timeout(WAIT_MS)
            context.add_init_script(REMEMBER_SENDING)
            yield context.new_page()
        finally:
            context.close()

    @contextmanager
    def opened(self, path: str) -> Iterator[Page]:
        """A page of the dashboard at rest."""
        with self.visitor() as page:
            open_page(page, self.server.url, path, **self.query)
            expect_no_exception(page)
            yield page


class Traffic:
    """Counts what a page receives besides the static files of Streamlit: unpacked frames of the socket, and media."""

    def __init__(self, page: Page) -> None:
        self._frames: list[int] = []
        self._requests: list = []
        page.on("websocket", self._follow)
        page.on("requestfinished", lambda request: self._requests.append(request))

    def _follow(self, socket: WebSocket) -> None:
        socket.on("framereceived", lambda frame: self._frames.append(len(frame)))

    def megabytes(self) -> float:
        data = [request for request in self._requests if "/static/" not in request.url]
        return (sum(self._frames) + sum(request.sizes()["responseBodySize"] for request in data)) / 1e6


def measure_lap(page: Page, watched: Locator, event: str, selector: str, wanted: str, act: Callable[[], None]) -> dict:
    """Milliseconds from an event to the painted change ("total"), and to the first message to the server ("sent").

    Args:
        page: at rest; it is at rest again afterwards.
        watched: an element in the document or shadow tree whose texts are watched.
        event: the name of the event that `act` causes.
        selector: of the watched elements.
        wanted: what the texts hold in the end; "" for any change.
        act: the interaction.
    """
    watched.first.evaluate(START_LAP, [event, selector, wanted])
    act()
    lap = page.wait_for_function("window.lap").json_value()
    wait_until_idle(page)
    return lap


def lap_row(what: str, laps: list[dict], limit_ms: float) -> Row:
    """The median of some laps against its target."""
    total = statistics.median(lap["total"] for lap in laps)
    sent = statistics.median(lap["sent"] for lap in laps)
    worst = max(lap["total"] for lap in laps)
    details = f"median of {len(laps)}, worst {worst:.0f} ms; {sent:.0f} ms until the browser tells the server"
    return Row(what, f"{total:.0f} ms", f"<= {limit_ms:g} ms", total <= limit_ms, details)


def place(index: int) -> tuple[int, int]:
    """The index-th patch to be clicked: 60 different ones, away from the button in the corner of a map."""
    return 3 + 3 * index % 10, 1 + 5 * index % 12


def click_patch(picture: Locator, patch: tuple[int, int]) -> None:
    """Clicks the middle of a patch."""
    box = picture.bounding_box()
    row, column = patch
    picture.click(position={"x": box["width"] * (column + 0.5) / SIDE, "y": box["height"] * (row + 0.5) / SIDE})


def slider(stage: Stage) -> Row:
    """Alpha of the free method, a new value each time."""
    with stage.opened("") as page:
        free = '[data-testid="map"][data-title="custom"]'
        watched = page.locator(free)
        laps = [
            measure_lap(page, watched, "keydown", free, "", lambda: drag_slider(page, "alpha", 1))
            for _ in range(REPEATS)
        ]
    return lap_row("alpha slider to changed map", laps, 300)


def click_on_maps(stage: Stage) -> Row:
    """A patch clicked on Maps until the line of the case names it."""
    with stage.opened("") as page:
        laps = [_click_lap(page, maps(page).first, "button", "patch row {}, column {}", i) for i in range(REPEATS)]
    return lap_row("patch click to changed case line, Maps", laps, 400)


def click_on_affinity(stage: Stage) -> Row:
    """A patch clicked on Affinity until the panel of its partners names it."""
    with stage.opened("affinity") as page:
        photo, title = page.get_by_test_id("affinity-photo"), "Strongest partners of patch row {}, column {}"
        laps = [_click_lap(page, photo, ".js-plotly-plot .gtitle", title, i) for i in range(REPEATS)]
    return lap_row("patch click to changed partners, Affinity", laps, 400)


def _click_lap(page: Page, picture: Locator, selector: str, wanted: str, index: int) -> dict:
    patch = place(index)
    app = page.get_by_test_id("stApp")
    return measure_lap(page, app, "click", selector, wanted.format(*patch), lambda: click_patch(picture, patch))


def hover(stage: Stage) -> Row:
    """The pointer over half of the patches; the component measures how long it draws."""
    times = []
    with stage.opened("affinity") as page:
        box = page.get_by_test_id("affinity-photo").bounding_box()
        view = page.locator(".affinity")
        for index in range(0, SIDE * SIDE, 2):
            row, column = divmod(index, SIDE)
            x, y = (column + 0.5) / SIDE, (row + 0.5) / SIDE
            page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y)
            times.append(float(view.get_attribute("data-frame-ms")))
    median, slow = statistics.median(times), statistics.quantiles(times, n=20)[-1]
    details = f"median of {len(times)}, 95th percentile {slow:.1f} ms"
    return Row("hover on Affinity, a frame", f"{median:.1f} ms", "<= 16 ms", median <= 16, details)


def first_pictures(stage: Stage) -> Iterator[Row]:
    """Every page opened by a new visitor: seconds until it rests, and what was sent."""
    seconds, megabytes = {}, {}
    for info in PAGES:
        with stage.visitor() as page:
            traffic, start = Traffic(page), time.perf_counter()
            open_page(page, stage.server.url, "" if info is PAGES[0] else info.name, **stage.query)
            seconds[info.title] = time.perf_counter() - start - SETTLED_S
            expect_no_exception(page)
            megabytes[info.title] = traffic.megabytes()
    yield _worst_row("first picture, slowest page", seconds, "s", 5, 1)
    yield _worst_row("data of a first picture, largest page", megabytes, "MB", 2, 2)


def _worst_row(what: str, figures: dict[str, float], unit: str, limit: float, digits: int) -> Row:
    worst = max(figures.values())
    details = ", ".join(f"{title} {value:.{digits}f}" for title, value in figures.items())
    return Row(what, f"{worst:.{digits}f} {unit}", f"< {limit:g} {unit}", worst < limit, details)


def memory(stage: Stage) -> Row:
    """Resident memory of the server while alpha moves and patches are clicked in turn on Maps."""
    resident = []
    with stage.opened("") as page:
        for index in range(INTERACTIONS):
            if index % 2:
                click_patch(maps(page).first, place(index))
            else:
                drag_slider(page, "alpha", -1 if (index // 2) // MOVES_TO_THE_RIGHT % 2 else 1)
            wait_until_idle(page)
            resident.append(resident_mb(stage.server.pid))
    early, late = (statistics.median(resident[end - SAMPLES : end]) for end in (WARM_UP, INTERACTIONS))
    growth = 100 * (late / early - 1)
    details = f"{early:.0f} MB after {WARM_UP}, {late:.0f} MB after {INTERACTIONS}"
    return Row("growth of the server's memory", f"{growth:+.1f} %", "< 5 %", growth < 5, details)


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        kib = re.search(r"VmRSS:\s+(\d+)", status.read_text())[1]
    else:
        kib = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
    return int(kib) * 1024 / 1e6


MEASUREMENTS: dict[str, Callable[[Stage], Row | Iterator[Row]]] = {
    "first picture": first_pictures,
    "slider": slider,
    "click on maps": click_on_maps,
    "click on affinity": click_on_affinity,
    "hover": hover,
    "growth of memory": memory,
}


def page_rows(only: str = "") -> Iterator[Row]:
    """Measures everything for every model against one server, on all processors.

    Args:
        only: only measurements whose name and model contain this text.
    """
    wanted = {model: [run for name, run in MEASUREMENTS.items() if only in f"{name}, {model}"] for model in MODELS}
    with tempfile.TemporaryDirectory() as folder:
        environment = {"OMP_NUM_THREADS": str(os.cpu_count()), "CLIP_THEATRE_CACHE": folder}
        with running_server(Path(folder) / "log.txt", environment) as server, running_browser() as browser:
            for model, measurements in wanted.items():
                yield from _model_rows(Stage(browser, server, VIEW | MODELS[model]), model, measurements)


def _model_rows(stage: Stage, model: str, measurements: list[Callable[[Stage], Row | Iterator[Row]]]) -> Iterator[Row]:
    if not measurements:
        return
    with Stage(stage.browser, stage.server, stage.query | WARMING).opened(""):
        pass  # libraries are imported and the model is loaded
    for measure in measurements:
        found = measure(stage)
        for row in [found] if isinstance(found, Row) else found:
            yield Row(f"{row.what}; {model}", row.measured, row.target, row.met, row.details)
