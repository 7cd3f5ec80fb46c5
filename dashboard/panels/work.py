"""Work on a page: what runs, for how long and how far it is, a Stop, and a button to start again where it was stopped.

    table = work_through(key, "Sweeping alpha", work)      # see `dashboard.jobs` for work
    if table is None:
        return                                              # stopped, and said so

Every result of `services.cached` that is not there yet is computed by such a job too, see `wait_for_result`. Any other
interaction meanwhile is answered at once; the job goes on, and the page joins it again. It ends when nobody waits for
it any more: all who did have pressed Stop, closed the page, or look at something else.
"""

import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import streamlit as st
from streamlit.runtime import Runtime
from streamlit.runtime.scriptrunner import add_script_run_ctx, get_script_run_ctx

from dashboard import caches, jobs, services, state
from dashboard.caches import cached
from dashboard.jobs import Job, Stopped

T = TypeVar("T")

UNSEEN_S = 0.3
"""Work that is done by then shows no bar."""
POLL_S = 0.1


def wait_for_result(key: Hashable, work: Callable[[], T]) -> T:
    """Computes a shared result in a job of its own, which other visitors may join, and waits for it.

    Args:
        key: of the result.
        work: computes it; it runs with this session's context, so it may ask `services` for what it needs.

    Raises:
        Stopped: this visitor has stopped it.
    """
    context = get_script_run_ctx(suppress_warning=True)
    if context is None:
        return work()
    while True:
        prepare = lambda thread: add_script_run_ctx(thread, context)  # noqa: E731
        job = jobs.start(key, lambda job: work(), patient=False, prepare=prepare)
        try:
            return _show(job, "Computing", state.stop_case)
        except Stopped:
            if not job.ending or state.is_stopped():
                raise


def _is_here(visitor: str) -> bool:
    """Whether a session has a connection to a browser; tests have no server and are always here."""
    return not Runtime.exists() or Runtime.instance().is_active_session(visitor)


caches.run_as_job = wait_for_result
jobs.is_here = _is_here


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
        except Stopped:
            st.rerun()
    return kept["result"]


def watch(
    key: Hashable,
    title: str,
    work: Callable[[Job[T]], T],
    on_stop: Callable[[], Any] = lambda: None,
    grace_s: float = jobs.GRACE_S,
) -> T:
    """Starts or joins a job, shows how far it is, and returns its result.

    Args:
        key, title, work: as in `work_through`; nothing is kept.
        on_stop: called when this visitor presses Stop, before the page runs again.
        grace_s: for how long it goes on with nobody there.

    Raises:
        Stopped: this visitor has stopped it.
    """
    while True:
        job = jobs.start((title, key), work, grace_s=grace_s)
        try:
            return _show(job, title, on_stop)
        except Stopped:
            if not job.ending or job.left_by(services.visitor()):
                raise


def _show(job: Job[T], title: str, on_stop: Callable[[], Any]) -> T:
    """Waits for a job of this or another visitor; after a moment with a bar, the time, and a Stop for this visitor."""
    visitor = services.visitor()
    if not job.wait(UNSEEN_S, visitor):
        place = st.empty()
        with place.container(horizontal=True, vertical_alignment="center"):
            bar = st.empty()
            leave = {"on_click": _leave, "args": (job, visitor, on_stop)}
            st.button("Stop", key=f"stop job {job.number}", icon=":material/stop_circle:", **leave)
        while not job.wait(POLL_S, visitor):
            passed = time.monotonic() - job.started
            bar.progress(job.share, f"{title} … {job.words or 'starting'}, {passed:.0f} s")
        place.empty()
    return job.result()


def is_under_way(key: Hashable, title: str) -> bool:
    """Whether somebody's job of this key and title is running, and was not told to end."""
    return jobs.is_going_on((title, key))


def _leave(job: Job[Any], visitor: str, on_stop: Callable[[], Any]) -> None:
    job.leave(visitor)
    on_stop()


def _offer_again(title: str, stopped: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"{title}: stopped.", width="content")
        st.button("Start again", key=f"again {title}", on_click=lambda: st.session_state.pop(stopped, None))
