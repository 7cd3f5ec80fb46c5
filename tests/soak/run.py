"""Visitors, hostile addresses, hostile files and kills against one running dashboard; what was found as one record."""

import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from data.images import load_image
from tests.browser.server import ROOT, Server, running_server
from tests.data.hostile import bombs, broken_files
from tests.soak.addresses import hostile_addresses
from tests.soak.client import Query, Visitor

TOY = {"model": ["toy"], "maps.points": ["1"]}
VIT = {"model": ["ViT-B-16"], "weights": ["random"], "methods": ["clip,clip_surgery"]}
HEAVY_PX = "768"
PROMPTS = ("a red circle", "grass", "a blue ring", "sand", "a green star", "snow")
ANSWER_S = 180.0
PATIENCE_S = 300.0
"""For so long after its time the plan's number of interactions is waited for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done.

    Attributes:
        clients: visitors at once; the last one runs heavy passes.
        seconds: for which they interact.
        pause_s: between the answer that a visitor got and what it asks next, this long on average.
        interactions: light ones at least, whatever the time.
        addresses, files, kills: how many of each.
    """

    clients: int = 8
    seconds: float = 600.0
    pause_s: float = 2.0
    interactions: int = 1000
    addresses: int = 500
    files: int = 200
    kills: int = 20


@dataclass(slots=True)
class Found:
    """What happened.

    Attributes:
        light_s: seconds from asking to the end, of light interactions.
        wrong: answers that differ from those of a fresh process.
        heavy: passes that were begun; most are stopped by leaving.
        errors: error boxes where none was expected, unfinished runs.
        exceptions: defects that reached a page.
        tracebacks: stacks in the server's log.
        memory_mb: of the server, at intervals.
        half_files: files left half-written by kills, or temporary ones among the results.
        addresses, files, kills: how many were tried.
    """

    light_s: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    heavy: int = 0
    errors: list[str] = field(default_factory=list)
    exceptions: list[str] = field(default_factory=list)
    tracebacks: int = 0
    memory_mb: list[float] = field(default_factory=list)
    half_files: list[str] = field(default_factory=list)
    addresses: int = 0
    files: int = 0
    kills: int = 0

    @property
    def p95_s(self) -> float:
        """95th percentile of light interactions."""
        ordered = sorted(self.light_s)
        return ordered[int(0.95 * (len(ordered) - 1))] if ordered else 0.0

    @property
    def growth(self) -> float:
        """How much more memory the last quarter of the time took than the second, as a share."""
        quarter = len(self.memory_mb) // 4
        if not quarter:
            return 0.0
        second, last = self.memory_mb[quarter : 2 * quarter], self.memory_mb[-quarter:]
        return (sum(last) / len(last)) / (sum(second) / len(second)) - 1


def light_views() -> list[Query]:
    """Views of two models at their own sizes."""
    toy = [{**TOY, "image": [f"toy-{i}"], "p": [PROMPTS[i % 6], PROMPTS[(i + 1) % 6]]} for i in range(6)]
    vit = [{**VIT, "image": [f"toy-{i}"], "p": [PROMPTS[i % 6]], "size": ["224"]} for i in range(4)]
    return [*toy, *vit]


def heavy_view(index: int) -> Query:
    """A view that takes a large pass, another one for each index."""
    return {**VIT, "image": [f"toy-{index % 12}"], "p": [PROMPTS[index % 6]], "size": [HEAVY_PX]}


def soak(plan: Plan, folder: Path, say: Callable[[str], None] = lambda line: None) -> Found:
    """Carries out a plan on this machine's loopback only.

    Args:
        plan: how much.
        folder: for logs and results of commands.
        say: gets a line now and then.
    """
    found, views = Found(), light_views()
    with running_server(folder / "serial.log") as server:
        expected = [_ask(server, view, Found()) for view in views]
    say(f"serial answers of {len(views)} views")
    with running_server(folder / "server.log") as server:
        for view in (views[0], views[-1]):
            _ask(server, view, Found())  # warm: libraries are imported and models loaded
        _visit(plan, server, views, expected, found)
        say(f"{len(found.light_s)} light interactions, {found.heavy} heavy passes")
        for query in hostile_addresses(plan.addresses):
            _try_address(server, query, found)
        say(f"{found.addresses} hostile addresses")
        found.tracebacks = (folder / "server.log").read_text(errors="replace").count("Traceback")
    _try_files(plan.files, found)
    say(f"{found.files} hostile files")
    _kill(plan.kills, folder / "killed", found)
    say(f"{found.kills} kills")
    return found


def _ask(server: Server, view: Query, found: Found) -> str:
    with Visitor(server.url, view) as visitor:
        answer = visitor.open(ANSWER_S)
    found.light_s.append(answer.seconds)
    found.exceptions += answer.exceptions
    found.errors += answer.errors + ([] if answer.finished else [f"no end within {ANSWER_S:.0f} s: {view}"])
    return answer.digest


def _visit(plan: Plan, server: Server, views: list[Query], expected: list[str], found: Found) -> None:
    """All visitors at once, until the time is over and there were enough interactions."""
    ends, over = time.monotonic() + plan.seconds, threading.Event()

    def light(number: int) -> None:
        choice = random.Random(number)
        while not over.is_set():
            index = choice.randrange(len(views))
            if _ask(server, views[index], found) != expected[index]:
                found.wrong.append(str(views[index]))
            over.wait(choice.uniform(0.5, 1.5) * plan.pause_s)

    def heavy() -> None:
        while not over.is_set():
            with Visitor(server.url, heavy_view(found.heavy)) as visitor:  # who looks for a while, then leaves
                visitor.send(wait=False)
                visitor.listen(20.0, until="block 6")
            found.heavy += 1

    threads = [threading.Thread(target=light, args=(number,)) for number in range(plan.clients - 1)]
    threads.append(threading.Thread(target=heavy))
    for thread in threads:
        thread.start()
    while time.monotonic() < ends or len(found.light_s) < plan.interactions:
        over.wait(1.0)
        found.memory_mb.append(_memory_mb(server.pid))
        if time.monotonic() > ends + max(plan.seconds, PATIENCE_S) or not any(thread.is_alive() for thread in threads):
            break
    over.set()
    for thread in threads:
        thread.join()


def _memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s*(\d+)", status)[1]) / 1024


def _try_address(server: Server, query: str, found: Found) -> None:
    """An address that no page has written: the page says what is wrong, or leaves it out, and comes to its end."""
    with Visitor(server.url, query) as visitor:
        answer = visitor.open(ANSWER_S)
    found.exceptions += answer.exceptions
    if not answer.finished:
        found.errors.append(f"no end within {ANSWER_S:.0f} s: {query[:200]}")
    found.addresses += 1


def _try_files(count: int, found: Found) -> None:
    whole = [*bombs().values(), *broken_files(max(0, count - len(bombs())))]
    for content in whole[:count]:
        try:
            load_image(content)
        except ValueError as error:
            if not str(error).startswith("Expected image to "):
                found.errors.append(str(error))
        except Exception as error:  # the hunt itself: whatever else it is, it is a defect
            found.exceptions.append(f"{type(error).__name__}: {error}")
        found.files += 1


def _kill(count: int, folder: Path, found: Found) -> None:
    """Commands that are killed while they write."""
    choice = random.Random(0)
    arguments = ["maps", *(f"toy-{i}" for i in range(6)), "--text", "grass", "--method", "clip", "--out", str(folder)]
    for _ in range(count):
        process = subprocess.Popen(
            [sys.executable, "-m", "dashboard.cli", *arguments],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + ANSWER_S
        while process.poll() is None and not any(folder.glob(".*")) and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(choice.uniform(0, 0.05))
        process.kill()
        process.wait()
        found.half_files += [path.name for path in folder.glob("*") if not _is_whole(path)]
        found.kills += 1


def _is_whole(path: Path) -> bool:
    import json

    import numpy as np

    if path.name.startswith("."):
        return True  # a temporary folder that the kill left: no result
    if path.suffix == ".json":
        return bool(json.loads(path.read_text()))
    return load_image(path).rgb.size > 0 if path.suffix == ".png" else bool(np.load(path)["maps"].size)
