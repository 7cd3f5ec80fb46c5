"""Insertion and deletion curves of several maps."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.judging import JudgedMap
from dashboard.figures.theme import METHOD_COLOURS, NEUTRAL, SERIES_COLOURS, apply_theme, escape


def plot_judged(judged: Sequence[JudgedMap], height: int = 330) -> go.Figure:
    """The cosine as patches are shown (insertion) and hidden (deletion) in the order of each map.

    Args:
        judged: maps with curves; baselines are drawn grey and dotted.
        height: in pixels.
    """
    titles = ["Insertion: high is good", "Deletion: low is good"]
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.06, subplot_titles=titles)
    for number, one in enumerate(judged):
        is_baseline = one.map.group == "baseline"
        colour = NEUTRAL if is_baseline else METHOD_COLOURS.get(one.name, SERIES_COLOURS[number % len(SERIES_COLOURS)])
        line = {"color": colour, "width": 2, "dash": {"random": "dot", "centre": "dash"}.get(one.name, "solid")}
        for column, values in ((1, one.curves.insertion), (2, one.curves.deletion)):
            figure.add_trace(
                go.Scatter(
                    x=one.curves.fractions,
                    y=values,
                    mode="lines",
                    line=line,
                    name=escape(one.map.title),
                    legendgroup=one.name,
                    showlegend=column == 1,
                    hovertemplate="%{x:.0%} of the patches: %{y:.3f}<extra>%{fullData.name}</extra>",
                ),
                row=1,
                col=column,
            )
    apply_theme(figure, height=height)
    figure.update_layout(margin={"l": 8, "r": 8, "t": 30, "b": 40}, legend={"font": {"size": 11}})
    figure.update_annotations(font_size=13)
    figure.update_xaxes(tickformat=".0%", title="patches")
    figure.update_yaxes(title="cosine with the text", col=1)
    return figure
