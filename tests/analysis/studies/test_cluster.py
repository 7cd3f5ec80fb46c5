"""The same parts on Ray: two actors, one killed on the way, and the summary is that of this process bit for bit."""

import importlib.util
import os
import signal

import pandas as pd
import psutil
import pytest

from analysis.studies import Study, run_study, summarise_study

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.timeout(600),
]

REQUEST = Study(data="toy:72", measures=("maps",), methods=("clip",), batch=2)
"""Three parts."""


def actors() -> list[psutil.Process]:
    """The actors of this process's Ray."""
    found = psutil.Process().children(recursive=True)
    return [process for process in found if "PartRunner" in " ".join(process.cmdline())]


def test_a_killed_actor_changes_nothing(tmp_path):
    killed = []

    def kill_one(progress):
        if not killed:
            victim = actors()[0]
            os.kill(victim.pid, signal.SIGKILL)
            killed.append(victim.pid)

    state = run_study(REQUEST, tmp_path / "ray", workers=2, ray="local", device="cpu", progress=kill_one)
    assert state.complete and len(killed) == 1
    run_study(REQUEST, tmp_path / "here", device="cpu")
    pd.testing.assert_frame_equal(
        summarise_study(tmp_path / "ray")["maps"], summarise_study(tmp_path / "here")["maps"], check_exact=True
    )
    assert not actors()


def test_without_ray_the_message_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install -e "\.\[ray\]"'):
        run_study(REQUEST, tmp_path / "none", ray="local", device="cpu")
