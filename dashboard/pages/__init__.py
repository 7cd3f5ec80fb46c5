"""One folder a page; the dashboard shows those named in `ORDER`, in this order.

A folder holds everything of its page: `__init__` says what it is (`PAGE`), a script of the page's own name draws it,
and body, results, exports and settings are beside it. A page imports `dashboard.panels` and `dashboard.figures`, and
no other page. Adding a page is adding a folder and its name here.
"""

from importlib import import_module

from dashboard.pages.info import PageInfo

ORDER = ("maps", "flip", "layers", "affinity", "redundancy", "words", "space", "compare", "study")

PAGES: tuple[PageInfo, ...] = tuple(import_module(f"{__name__}.{name}").PAGE for name in ORDER)
