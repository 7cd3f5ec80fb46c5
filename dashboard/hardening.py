"""What stands between a dashboard on a network and its visitors: headers, closed routes, messages that are not taken.

Streamlit 1.67 serves an ASGI application that takes middleware; `streamlit_server.py` puts this one in front of it.
There is no login in it: see docs/serving.md for a reverse proxy that has one.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from google.protobuf.message import DecodeError
from streamlit.proto.BackMsg_pb2 import BackMsg

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]

HEADERS = {
    "content-security-policy": (
        "frame-ancestors 'none'; object-src 'none'; base-uri 'self'; form-action 'self'; connect-src 'self'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # addresses hold prompts
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
CLOSED = ("/_stcore/metrics", "/_stcore/script-health-check")
"""Routes that say how busy the server is, to nobody."""
TAKEN = frozenset({"rerun_script", "stop_script", "app_heartbeat", "file_urls_request"})
"""What a page sends. Others would clear the caches of all, or are for developers."""
OPERATIONS = frozenset({"deferred_file", "dataframe_chunk"})
"""What a page asks the server for beside its runs: a file that is made when it is wanted, rows of a long table. Others
would install something here."""


class Hardened:
    """ASGI middleware.

    Args:
        app: the application behind it.
    """

    def __init__(self, app: Asgi) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serves one request or connection."""
        if scope["type"] == "websocket":
            await self._app(scope, lambda: _next_taken(receive), send)
        elif scope["type"] == "http" and scope["path"].rstrip("/").endswith(CLOSED):
            await send({"type": "http.response.start", "status": 404, "headers": _with_headers([])})
            await send({"type": "http.response.body", "body": b"not found"})
        else:
            await self._app(scope, receive, _adding_headers(send))


async def _next_taken(receive: Receive) -> Message:
    """The next message of a connection that a page may send; others are dropped."""
    while True:
        message = await receive()
        if message["type"] != "websocket.receive" or _is_taken(message.get("bytes")):
            return message


def _is_taken(content: bytes | None) -> bool:
    try:
        message = BackMsg.FromString(content or b"")
    except DecodeError:
        return False
    if message.WhichOneof("type") == "backend_operation_request":
        return message.backend_operation_request.WhichOneof("payload") in OPERATIONS
    return message.WhichOneof("type") in TAKEN


def _adding_headers(send: Send) -> Send:
    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": _with_headers(message.get("headers", []))}
        await send(message)

    return add


def _with_headers(headers: Any) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in headers if name.decode("latin-1").lower() not in HEADERS]
    return [*kept, *((name.encode(), value.encode()) for name, value in HEADERS.items())]
