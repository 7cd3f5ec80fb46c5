"""What a dashboard on a network sends, closes and does not take."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from streamlit.proto.BackMsg_pb2 import BackMsg

from dashboard.hardening import HEADERS, Hardened


def serve(scope: dict, incoming: list[dict]) -> tuple[list[dict], list[dict]]:
    """What the application behind got, and what was sent in the end."""
    got, sent, waiting = [], [], list(incoming)

    async def app(scope, receive, send):
        while len(got) == 0 or got[-1]["type"] not in ("websocket.disconnect", "http.request"):
            got.append(await receive())
        await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Frame-Options", b"ALLOW")]})

    async def receive():
        return waiting.pop(0)

    async def send(message):
        sent.append(message)

    # In a thread of its own: a browser test of the same process may have left its loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, Hardened(app)(scope, receive, send)).result()
    return got, sent


def received(**message) -> dict:
    back = BackMsg()
    for name, value in message.items():
        if value is True:
            setattr(back, name, True)
        else:
            getattr(back, name).query_string = value
    return {"type": "websocket.receive", "bytes": back.SerializeToString()}


def test_every_answer_has_the_headers_once() -> None:
    _, (start,) = serve({"type": "http", "path": "/"}, [{"type": "http.request"}])
    assert {name.decode(): value.decode() for name, value in start["headers"]} == HEADERS
    assert "frame-ancestors 'none'" in HEADERS["content-security-policy"]


def test_metrics_are_for_nobody() -> None:
    for path in ("/_stcore/metrics", "/below/_stcore/metrics/"):
        got, sent = serve({"type": "http", "path": path}, [{"type": "http.request"}])
        assert not got and sent[0]["status"] == 404


def test_only_what_pages_send_is_taken() -> None:
    end = {"type": "websocket.disconnect"}
    rerun = received(rerun_script="p=a")
    nonsense = {"type": "websocket.receive", "bytes": b"\xff\xff\xff"}
    text = {"type": "websocket.receive", "text": "hello"}
    got, _ = serve({"type": "websocket"}, [received(clear_cache=True), nonsense, rerun, text, end])
    assert got == [rerun, end]


def test_a_page_may_ask_for_files_that_are_made_when_wanted_but_for_no_installation() -> None:
    end = {"type": "websocket.disconnect"}
    asked = {}
    for payload in ("deferred_file", "install_skills"):
        back = BackMsg()
        getattr(back.backend_operation_request, payload).SetInParent()
        asked[payload] = {"type": "websocket.receive", "bytes": back.SerializeToString()}
    got, _ = serve({"type": "websocket"}, [*asked.values(), end])
    assert got == [asked["deferred_file"], end]
