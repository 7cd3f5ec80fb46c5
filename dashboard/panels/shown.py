"""What a page has drawn in this run, so that it can be taken away as pictures: charts and map views, in order.

begin()                       # by the page's frame
show("flip lens", figure)     # by `panels.chart` and `panels.mapview`, for everything they draw
pictures()                    # name -> function that draws it for paper
"""

from collections.abc import Callable, Mapping
from contextvars import ContextVar

from matplotlib.figure import Figure

Draw = Callable[[], Figure]

_shown: ContextVar[dict[str, tuple[str, Draw]] | None] = ContextVar("shown", default=None)


def begin() -> None:
    """Nothing is drawn yet."""
    _shown.set({})


def show(key: str, title: str, draw: Draw) -> None:
    """Keeps how to draw what is on the page now.

    Args:
        key: unique on the page; the name of its files.
        title: what it is.
        draw: makes the picture; it closes over what is drawn and asks for nothing of the session.
    """
    here = _shown.get()
    if here is not None:
        here[key] = (title, draw)


def shown() -> Mapping[str, tuple[str, Draw]]:
    """All that is drawn: key -> title, and how to draw it."""
    return dict(_shown.get() or {})
