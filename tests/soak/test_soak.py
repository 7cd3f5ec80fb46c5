"""The soak in miniature: the same visitors, addresses, files and kills, fewer of each."""

from pathlib import Path

import pytest

from tests.browser.server import running_server
from tests.soak.__main__ import table
from tests.soak.client import Visitor
from tests.soak.run import Found, Plan, heavy_view, light_views, soak

WAIT_S = 200.0


@pytest.mark.timeout(600)
def test_visitors_addresses_files_and_kills(tmp_path: Path) -> None:
    plan = Plan(clients=4, seconds=10, pause_s=0, interactions=12, addresses=14, files=60, kills=1)
    found = soak(plan, tmp_path)
    assert found.wrong == found.exceptions == found.errors == found.half_files == []
    assert len(found.light_s) >= plan.interactions and found.heavy >= 1 and found.tracebacks == 0
    assert (found.addresses, found.files, found.kills) == (plan.addresses, plan.files, plan.kills)


@pytest.mark.timeout(600)
def test_a_large_pass_stops_nobody_and_ends_with_its_visitor(tmp_path: Path) -> None:
    view = {**heavy_view(0), "size": ["1024"]}
    with running_server(tmp_path / "log") as server:
        heavy = Visitor(server.url, view)
        heavy.send(wait=False)
        begun = heavy.listen(WAIT_S, until="block 1 of")
        if begun.errors:
            pytest.skip(f"not enough memory for a large pass: {begun.errors[0]}")
        assert "at 1024 px" in begun.texts[-1] and "Stop" in begun.buttons
        with Visitor(server.url, light_views()[-1]) as light:
            assert light.open(WAIT_S).finished
        if heavy.listen(0.5).finished:
            pytest.skip("the large pass was over too soon to see who waits for it")
        with Visitor(server.url, {**view, "image": ["toy-7"]}) as second:
            second.send(wait=False)
            queued = second.listen(WAIT_S, until="place 1 in the queue")
            assert "place 1 in the queue" in queued.texts[-1]
            stopped = heavy.send(id=begun.buttons["Stop"], trigger_value=True, timeout=WAIT_S)
            assert "Start again" in stopped.buttons and not stopped.exceptions
            assert "block 1 of" in second.listen(WAIT_S, until="block 1 of").texts[-1]
        heavy.__exit__()
        with Visitor(server.url, {**view, "size": ["2048"]}) as third:
            assert "The size has to be at most" in third.open(WAIT_S).errors[0]


def test_the_table_says_what_was_missed() -> None:
    found = Found(light_s=[1.0] * 9 + [9.0], wrong=["a"], memory_mb=[100.0] * 8)
    lines = table(Plan(interactions=10), found)
    assert [line.rpartition("| ")[2] for line in lines[4:]] == ["met |", "MISSED |"] + ["met |"] * 6
    assert found.p95_s == 1.0 and found.growth == 0
