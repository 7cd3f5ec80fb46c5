"""Plotly figures on one HTML page that needs nothing else, not even a network."""

import html
from collections.abc import Sequence

import plotly.graph_objects as go

STYLE = """body { font: 15px/1.5 system-ui, sans-serif; color: #1b2228; margin: 2rem auto; max-width: 1540px }
h1 { font-size: 1.5rem } .settings { color: #5b6770; font-size: 0.85rem }
section { margin: 1.5rem 0; overflow-x: auto }"""


def figures_html(title: str, text: str, settings: str, figures: Sequence[go.Figure]) -> bytes:
    """A page with a title, a paragraph, interactive figures and, last, what produced them.

    Args:
        title, text, settings: plain text, escaped here.
        figures: from `dashboard.figures`.

    Returns:
        The file, about 5 MB, most of it the library that draws.
    """
    parts = [
        figure.to_html(full_html=False, include_plotlyjs=index == 0, div_id=f"figure-{index}")
        for index, figure in enumerate(figures)
    ]
    sections = "\n".join(f"<section>{part}</section>" for part in parts)
    title, text, settings = (html.escape(words) for words in (title, text, settings))
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style></head>
<body><h1>{title}</h1><p>{text}</p>
{sections}
<p class="settings">{settings}</p></body>
</html>
""".encode()
