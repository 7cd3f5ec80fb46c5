"""A visitor without a browser: speaks Streamlit's own protocol, so that many of them fit on one machine."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

Query = Mapping[str, Sequence[str]]
MAP_VIEW = "clip_theatre_map_view"


@dataclass(slots=True)
class Answer:
    """What one run of the script sent.

    Attributes:
        seconds: from asking to the end of the run.
        views: digests of what each map view was sent, in order.
        errors: texts of error boxes, which are part of the page.
        exceptions: texts of exceptions, which are defects.
        buttons, areas: label of a button or text area -> its id.
        finished: whether the run came to its end.
        texts: labels of progress bars, in order.
    """

    seconds: float = 0.0
    views: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    exceptions: list[str] = field(default_factory=list)
    buttons: dict[str, str] = field(default_factory=dict)
    areas: dict[str, str] = field(default_factory=dict)
    finished: bool = False
    texts: list[str] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """Stands for all maps of the page."""
        return hashlib.sha256("".join(self.views).encode()).hexdigest()[:16]


class Visitor(AbstractContextManager["Visitor"]):
    """One session of a dashboard.

    Args:
        url: of the dashboard, without a slash at the end.
        query: parameters of the address.
        page: path of the page, "" for the first.
    """

    def __init__(self, url: str, query: Query | str = "", page: str = "") -> None:
        where = urlsplit(url)
        self.query = query if isinstance(query, str) else urlencode(query, doseq=True)
        self.page = page
        self._open = ExitStack()
        connection = connect(
            f"ws://{where.netloc}/_stcore/stream",
            subprotocols=["streamlit"],
            origin=url,
            max_size=None,
            open_timeout=30,
        )

        self._socket = self._open.enter_context(connection)

    def open(self, timeout: float = 120.0) -> Answer:
        """Asks for the page."""
        return self.send(timeout=timeout)

    def send(self, timeout: float = 120.0, wait: bool = True, **widget: object) -> Answer:
        """Asks for another run, with the new value of one widget: id=..., and string_value=... or trigger_value=..."""
        message = BackMsg()
        message.rerun_script.query_string = self.query
        message.rerun_script.page_name = self.page
        if widget:
            state = message.rerun_script.widget_states.widgets.add()
            for name, value in widget.items():
                setattr(state, name, value)
        self._socket.send(message.SerializeToString())
        return self.listen(timeout) if wait else Answer()

    def listen(self, timeout: float, until: str = "") -> Answer:
        """Takes in what is sent until the run is over, or until a progress bar says `until`."""
        answer, began = Answer(), time.monotonic()
        while (left := timeout - (time.monotonic() - began)) > 0:
            try:
                message = ForwardMsg.FromString(self._socket.recv(timeout=left))
            except TimeoutError:
                break
            kind = message.WhichOneof("type")
            if kind == "delta":
                _note(answer, message)
                if until and answer.texts and until in answer.texts[-1]:
                    break
            elif kind == "script_finished" and message.script_finished in (0, 4):  # finished, or a fragment did
                answer.finished = True
                break
        answer.seconds = time.monotonic() - began
        return answer

    def clear_cache(self) -> None:
        """Asks the server to forget its caches, as nobody should be able to."""
        self._socket.send(BackMsg(clear_cache=True).SerializeToString())

    def __exit__(self, *_: object) -> None:
        self._open.close()


def _note(answer: Answer, message: ForwardMsg) -> None:
    if message.delta.WhichOneof("type") != "new_element":
        return
    element = message.delta.new_element
    kind = element.WhichOneof("type")
    if kind == "exception":
        answer.exceptions.append(f"{element.exception.type}: {element.exception.message}")
    elif kind == "alert" and element.alert.format == 1:  # ERROR
        answer.errors.append(element.alert.body.replace("\\", "").replace("\u2060", ""))
    elif kind == "button":
        answer.buttons[element.button.label] = element.button.id
    elif kind == "text_area":
        answer.areas[element.text_area.label] = element.text_area.id
    elif kind == "progress":
        answer.texts.append(element.progress.text)
    elif kind == "bidi_component" and element.bidi_component.component_name == MAP_VIEW:
        answer.views.append(hashlib.sha256(element.bidi_component.json.encode()).hexdigest())
