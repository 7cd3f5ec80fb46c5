"""Long work on a page: a bar and a Stop button while it runs, a button to start again where it was stopped.

    table = work_through(key, "Sweeping alpha", work)      # see `dashboard.jobs` for work
    if table is None:
        return                                              # stopped, and said so

Any other interaction meanwhile is answered at once; the job goes on, and the page joins it again.
"""

import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import streamlit as st

from dashboard import jobs
from dashboard.jobs import Job, Stopped
from dashboard.services import cached

T = TypeVar("T")

UNSEEN_S = 0.3
"""Work that is done by then shows no bar."""
POLL_S = 0.1


@cached(max_entries=64)
def _results(title: str, key: Hashable) -> dict[str, Any]:
    """Where the result of a job is put, for all sessions."""
    return {}


def work_through(key: Hashable, title: str, work: Callable[[Job[T]], T]) -> T | None:
    """The result of long work, kept for all sessions; None where this visitor has stopped it.

    Args:
        key: what the result depends on; frozen dataclasses and plain values.
        title: what is being done; once on a page.
        work: runs in a thread of its own, and touches neither `services` nor `state`.
    """
    kept = _results(title, key)

    def keep(job: Job[T]) -> None:
        kept["result"] = work(job)

    if "result" not in kept:
        stopped = f"stopped: {title}"
        if st.session_state.get(stopped) == key:
            _offer_again(title, stopped)
            return None
        try:
            watch(key, title, keep, on_stop=lambda: st.session_state.update({stopped: key}))
        except Stopped:  # by another visitor, who waited for the same
            st.rerun()
    return kept["result"]


def watch(key: Hashable, title: str, work: Callable[[Job[T]], T], on_stop: Callable[[], Any] = lambda: None) -> T:
    """Starts or joins a job, shows how far it is, and returns its result.

    Args:
        key, title, work: as in `work_through`; nothing is kept.
        on_stop: called when this visitor presses Stop, before the page runs again.

    Raises:
        Stopped: the job was stopped, here or by another visitor.
    """
    job = jobs.start((title, key), work)
    if not job.wait(UNSEEN_S):
        started, place = time.monotonic(), st.empty()
        with place.container(horizontal=True, vertical_alignment="center"):
            bar = st.empty()
            st.button("Stop", key=f"stop {title}", icon=":material/stop_circle:", on_click=_stop, args=(job, on_stop))
        while not job.wait(POLL_S):
            bar.progress(job.share, f"{title} … {job.words or f'{time.monotonic() - started:.0f} s'}")
        place.empty()
    return job.result()


def is_under_way(key: Hashable, title: str) -> bool:
    """Whether somebody's job of this key and title is running."""
    return jobs.is_running((title, key))


def _stop(job: Job[Any], on_stop: Callable[[], Any]) -> None:
    job.stop()
    on_stop()


def _offer_again(title: str, stopped: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"{title}: stopped.", width="content")
        st.button("Start again", key=f"again {title}", on_click=lambda: st.session_state.pop(stopped, None))
