"""Figures of a `FlipReport`: where the sign turns, which component writes it, what removing it does, what methods do.

Every figure takes the report alone. `chosen` marks a component; point i of the figure's first trace belongs to entry i
of the function that is named beside it.
"""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from analysis.decomposition import Component
from analysis.flips import FlipReport
from analysis.lens import sign_changes
from analysis.numerals import auc, signed
from dashboard.figures.names import place_names
from dashboard.figures.theme import (
    DIVERGING,
    NEGATIVE,
    NEUTRAL,
    POSITIVE,
    SERIES_COLOURS,
    apply_theme,
    escape,
    method_colour,
    shared_limit,
)
from surgery import TITLES

DIMMED = 0.45
NAMED_POINTS = 8
NAMED_FROM = 0.4
"""Dots this far from the origin, of 2 at most, carry their name, as many as there is room for."""

MANY_HEADS = 16
KIND_MARKS = {
    "attention": ("circle", SERIES_COLOURS[0], "● attention"),
    "head": ("circle-open", SERIES_COLOURS[0], "○ head"),
    "mlp": ("square", SERIES_COLOURS[1], "■ MLP"),
}
"""Kind of component -> marker, colour, how the note explains it."""


def waterfall_components(report: FlipReport) -> tuple[Component, ...]:
    """Component of every bar of `plot_waterfall` but the last, which is the total."""
    return report.blame.merged().components


def plot_waterfall(report: FlipReport, chosen: Component | None = None) -> go.Figure:
    """The contrast of the CLIP map as a sum: one bar per block's attention and MLP, from the embedding to the total.

    Args:
        report: any report.
        chosen: the marked component.
    """
    merged = report.blame.merged()
    terms = merged.contrast(report.region)[0, :, 0]  # (k,)
    after = np.cumsum(terms)
    opacity = [1.0 if chosen in (None, part) else DIMMED for part in merged.components]
    bars = go.Bar(
        x=[*merged.labels, "total"],
        base=[*(after - terms), 0.0],
        y=[*terms, after[-1]],
        marker={"color": [*map(_sign_colour, terms), NEUTRAL], "opacity": [*opacity, 1.0]},
        customdata=[*after, after[-1]],
        hovertemplate="%{x}: %{y:+.3r}<br>sum so far %{customdata:+.3r}<extra></extra>",
    )
    figure = apply_theme(go.Figure(bars), "Who writes the contrast (blame)", 300)
    figure.update_layout(showlegend=False, bargap=0.25, clickmode="event+select")
    figure.update_xaxes(
        title="component (a: attention, m: MLP)", type="category", tickangle=-45 if len(terms) > 9 else 0
    )
    figure.update_yaxes(title="contrast (cosine)", zeroline=True, tickformat=".2~g")
    return figure


def lens_component(index: int) -> Component:
    """What wrote point `index` of `plot_lens` last: the embedding, or a block's attention and MLP."""
    return Component("embedding") if index == 0 else Component("attention", index - 1)


def plot_lens(report: FlipReport, layer: int | None = None) -> go.Figure:
    """Contrast of the logit lens over depth, with the depth at which the sign turns.

    Args:
        report: any report; a ResNet has no logit lens, and the figure says so.
        layer: the chosen block, marked.
    """
    figure = apply_theme(go.Figure(), "Contrast after every block (logit lens)", 300)
    values = report.lens_contrast
    if not len(values):
        return _say(figure, "A ResNet has one block, its attention pool,<br>and so no logit lens.")
    names = ["embedding", *(f"block {l}" for l in range(len(values) - 1))]
    sizes = [13 if layer is not None and index == layer + 1 else 8 for index in range(len(values))]
    line = go.Scatter(
        x=np.arange(len(values)),
        y=values,
        mode="lines+markers",
        line={"color": NEUTRAL, "width": 2},
        marker={"color": [*map(_sign_colour, values)], "size": sizes, "opacity": 1},
        text=names,
        hovertemplate="after %{text}: %{y:+.3r}<extra></extra>",
    )
    figure.add_trace(line)
    for depth in sign_changes(values):
        figure.add_vline(x=depth - 0.5, line={"color": NEUTRAL, "dash": "dot"})
    _note(figure, _turns(values))
    figure.update_layout(showlegend=False)
    step = max(1, round(len(values) / 13))
    ticks = list(range(0, len(values), step))
    figure.update_xaxes(
        title="read out after", tickvals=ticks, ticktext=["emb." if t == 0 else str(t - 1) for t in ticks]
    )
    figure.update_yaxes(rangemode="tozero")
    figure.update_yaxes(title="contrast (cosine)", zeroline=True, tickformat=".2~g")
    return figure


def _turns(lens: np.ndarray) -> str:
    """Every crossing of zero in words, those of deep networks by number."""
    blocks = [str(depth - 1) for depth in sign_changes(lens)]
    if not blocks:
        return f"{'negative' if lens[-1] < 0 else 'positive'} throughout"
    return f"sign turns in block{'s' if len(blocks) > 1 else ''} {', '.join(blocks)}"


def heads_components(report: FlipReport) -> tuple[Component, ...]:
    """Component of every marker of `plot_heads`: per block its heads, then its MLP."""
    kept = (c for c in report.blame.components if c.kind in ("head", "mlp"))
    return tuple(sorted(kept, key=lambda c: (c.block, c.kind != "head", c.head or 0)))


def plot_heads(report: FlipReport, chosen: Component | None = None) -> go.Figure:
    """Blame of every head and MLP: blocks x heads on one signed scale. Trace 0 are clickable markers over the cells.

    Args:
        report: any report.
        chosen: the marked component; the attention of a block marks all its heads.
    """
    parts = heads_components(report)
    terms = dict(zip(report.blame.components, report.blame.contrast(report.region)[0, :, 0], strict=True))
    columns = 1 + max((c.head for c in parts if c.kind == "head"), default=-1)
    rows = 1 + max(c.block for c in parts)
    has_mlp = any(c.kind == "mlp" for c in parts)
    grid = np.full((rows, columns + has_mlp), np.nan)
    for part in parts:
        grid[part.block, _column(part, columns)] = terms[part]
    limit = shared_limit([grid])
    clear = {"marker": {"opacity": 0}}
    markers = go.Scatter(
        x=[_column(c, columns) for c in parts],
        y=[c.block for c in parts],
        mode="markers",
        marker={"opacity": 0, "size": 14},
        selected=clear,
        unselected=clear,
        text=[f"{describe_component(c)}: {signed(terms[c])}" for c in parts],
        hovertemplate="%{text}<extra></extra>",
    )
    heat = go.Heatmap(
        z=grid.astype(np.float32),
        colorscale=DIVERGING,
        zmin=-limit,
        zmax=limit,
        hoverinfo="skip",
        xgap=1,
        ygap=1,
        colorbar={"title": {"text": "cosine", "font": {"size": 12}}, "thickness": 12, "tickformat": ".2~g"},
    )
    figure = apply_theme(go.Figure([markers, heat]), "Blame of every head" + (" and MLP" if has_mlp else ""), 300)
    figure.update_layout(hovermode="closest", hoverdistance=-1, showlegend=False, dragmode=False)
    shown = range(0, columns, -(-columns // MANY_HEADS))
    names = {column: str(column) for column in shown} | ({columns: "MLP"} if has_mlp else {})
    ticks = {"tickvals": [*names], "ticktext": [*names.values()], "tickangle": 0}
    figure.update_xaxes(title="head", range=[-0.5, columns + has_mlp - 0.5], showgrid=False, **ticks)
    figure.update_yaxes(title="block", range=[rows - 0.5, -0.5], dtick=max(1, rows // 12))
    figure.update_yaxes(showgrid=False, zeroline=False)
    frame_cell(figure, chosen, columns)
    return figure


def heads_place(part: Component, columns: int) -> tuple[int, int]:
    """Column and row of a head or MLP among blocks x heads; MLPs stand behind the last head."""
    return (columns if part.kind == "mlp" else part.head), part.block


def _column(part: Component, columns: int) -> int:
    return heads_place(part, columns)[0]


def frame_cell(figure: go.Figure, chosen: Component | None, columns: int) -> None:
    """A rectangle around the chosen cell, or around all heads of a chosen attention."""
    if chosen is None or chosen.kind not in ("head", "attention", "mlp"):
        return
    first, last = (0, columns - 1) if chosen.kind == "attention" else (_column(chosen, columns),) * 2
    for colour, width in (("#000000", 4), ("#ffffff", 2)):
        place = {"x0": first - 0.5, "x1": last + 0.5, "y0": chosen.block - 0.5, "y1": chosen.block + 0.5}
        figure.add_shape(type="rect", line={"color": colour, "width": width}, **place)


def plot_ablation(report: FlipReport, chosen: Component | None = None) -> go.Figure:
    """Blame against what removing the component does, a dot each; point i is `report.interventions[i]`.

    Args:
        report: with interventions; without any the figure says so.
        chosen: the marked component.
    """
    figure = apply_theme(go.Figure(), "Blame against removal", 300)
    done = report.interventions
    if not done:
        return _say(figure, "No component has been removed yet.")
    blame, change = np.array([i.blame for i in done]), np.array([i.change for i in done])
    predicted = shared_limit([blame])
    ranges = [_span(values, predicted) for values in (blame, change)]
    picked = [i.component == chosen for i in done]
    sides = _name_sides([i.component.label for i in done], blame, change, ranges, picked)
    dots = go.Scatter(
        x=blame,
        y=change,
        mode="markers+text",
        marker={
            "symbol": [KIND_MARKS[i.component.kind][0] for i in done],
            "color": [KIND_MARKS[i.component.kind][1] for i in done],
            "size": [15 if p else 9 for p in picked],
            "opacity": 1,
        },
        text=[d.component.label if n in sides else "" for n, d in enumerate(done)],
        textposition=[sides.get(n, "top center") for n in range(len(done))],
        textfont={"size": 10},
        customdata=[describe_component(i.component) for i in done],
        hovertemplate="%{customdata}<br>blame %{x:+.3r}, removal changes the contrast by %{y:+.3r}<extra></extra>",
        showlegend=False,
        cliponaxis=False,
    )
    figure.add_trace(dots)
    figure.add_trace(_prediction(predicted))
    kinds = dict.fromkeys(i.component.kind for i in done)
    marks = " ".join(f'<span style="color:{KIND_MARKS[kind][1]}">{KIND_MARKS[kind][2]}</span>' for kind in kinds)
    _note(figure, f"{marks} ┈ predicted")
    figure.update_layout(hovermode="closest", showlegend=False)
    figure.update_xaxes(title="blame: adds to the contrast", zeroline=True, tickformat=".2~g")
    figure.update_xaxes(zerolinecolor="rgba(128,128,128,0.6)", range=ranges[0])
    figure.update_yaxes(title="change when removed", zeroline=True, tickformat=".2~g", range=ranges[1])
    return figure


def _span(values: np.ndarray, least: float) -> tuple[float, float]:
    """Range of an axis that holds the values and +-`least`, with room for names at the edges."""
    low, high = min(values.min(), -least), max(values.max(), least)
    return low - 0.08 * (high - low), high + 0.08 * (high - low)


def _name_sides(
    labels: Sequence[str], x: np.ndarray, y: np.ndarray, ranges: Sequence[tuple[float, float]], picked: Sequence[bool]
) -> dict[int, str]:
    """Dots that carry their name -> the side it stands on; the chosen one always does."""
    size = np.abs(x) / np.abs(x).max(initial=1e-12) + np.abs(y) / np.abs(y).max(initial=1e-12)
    far = [n for n in np.argsort(-size)[:NAMED_POINTS].tolist() if size[n] > NAMED_FROM and not picked[n]]
    chosen = [n for n, on in enumerate(picked) if on]
    places = [(values - low) / (high - low) for values, (low, high) in zip((x, y), ranges, strict=True)]
    return dict.fromkeys(chosen, "top center") | place_names(*places, labels, chosen + far)


def _prediction(x: float) -> go.Scatter:
    line = {"color": NEUTRAL, "dash": "dot", "width": 1}
    return go.Scatter(x=[-x, x], y=[x, -x], mode="lines", line=line, name="as blame predicts", hoverinfo="skip")


def plot_methods(report: FlipReport, chosen: str = "") -> go.Figure:
    """Flip AUC of every method as bars, with the contrast beside each; bar i is the i-th of `report.readings`.

    Args:
        report: any report.
        chosen: name of the marked method.
    """
    names = [*report.readings]
    aucs = [report.readings[name].flip_auc for name in names]
    opacity = [1.0 if not chosen or name in (chosen, "clip") else DIMMED for name in names]
    bars = go.Bar(
        y=[escape(TITLES.get(name, name)) for name in names],
        x=aucs,
        orientation="h",
        marker={"color": [*map(method_colour, names)], "opacity": opacity},
        customdata=[report.readings[name].contrast for name in names],
        hovertemplate="%{y}: flip AUC %{x:.3r}, contrast %{customdata:+.3r}<extra></extra>",
    )
    figure = apply_theme(go.Figure(bars), "What each method does about it: flip AUC", 60 + 26 * len(names) + 44)
    notes = [_at_right(-0.9, "AUC", "contrast")]
    for row, name in enumerate(names):
        notes.append(_at_right(row, auc(aucs[row]), signed(report.readings[name].contrast)))
    figure.update_layout(annotations=[note for pair in notes for note in pair])
    figure.add_vline(x=0.5, line={"color": NEUTRAL, "dash": "dot"})
    figure.update_layout(showlegend=False, bargap=0.25)
    figure.update_xaxes(title="below 0.5 the map is flipped", range=[0, 1.52], tickvals=[0, 0.25, 0.5, 0.75, 1])
    figure.update_yaxes(range=[len(names) - 0.4, -1.3], showgrid=False)
    return figure


def _at_right(row: float, auc: str, contrast: str) -> list[dict[str, object]]:
    """Two annotations beside a bar; all together in one update, since plotly takes 10 ms for each on its own."""
    place = {"y": row, "showarrow": False, "xanchor": "right", "font": {"size": 11}}
    return [{"x": 1.22, "text": auc, **place}, {"x": 1.5, "text": contrast, **place}]


def describe_component(part: Component) -> str:
    """A component in words: "head 1 of block 2", "MLP of block 3", "embedding"."""
    where = f"block {part.block}"
    return {
        "head": f"head {part.head} of {where}",
        "attention": f"attention of {where}",
        "mlp": f"MLP of {where}",
        "bias": f"attention bias of {where}",
    }.get(part.kind, part.kind)


def _note(figure: go.Figure, text: str) -> None:
    """A line under the title, left."""
    place = {"xref": "paper", "yref": "paper", "x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom"}
    figure.add_annotation(text=text, showarrow=False, font={"size": 11}, **place)


def _sign_colour(value: float) -> str:
    return POSITIVE if value > 0 else NEGATIVE


def _say(figure: go.Figure, text: str) -> go.Figure:
    """A figure without data that says why."""
    figure.add_annotation(text=text, showarrow=False, xref="paper", yref="paper", x=0.5, y=0.5)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure


def component_index(components: Sequence[Component], index: int | None) -> Component | None:
    """Entry `index` of the components; None where there is none."""
    return components[index] if index is not None and index < len(components) else None
