"""Figures of attention weights: same-region mass over the blocks, and who the strongest partners are."""

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.affinity import KEYS, PARTNERS, PATCH_KEYS, QUERIES, BestPartners, SameRegionMass
from analysis.regions import Region
from dashboard.figures import layers
from dashboard.figures.theme import GROUP_COLOURS, NEUTRAL, SERIES_COLOURS, apply_theme, kind_title

KIND_COLOURS = layers.KIND_COLOURS | {
    "identity": "#E69F00",
    "qq+kk": "#56B4E9",
    "kk+gaussian": "#009E73",
    "gem": "#9467bd",
}
"""Line colour of a kind of attention."""

PARTNER_COLOURS = dict(
    zip(
        PARTNERS,
        (SERIES_COLOURS[5], SERIES_COLOURS[0], SERIES_COLOURS[1], NEUTRAL, GROUP_COLOURS["CLS"], SERIES_COLOURS[4]),
        strict=True,
    )
)
PARTNER_TITLES = {"cls": "CLS token"}


def _partner_title(who: str) -> str:
    return PARTNER_TITLES.get(who, who)


def mass_over_blocks(found: SameRegionMass, head: int | None) -> np.ndarray:
    """Same-region mass (kinds, blocks, 2) of one image; for the mean over heads, of the mean attention."""
    flow = found.flow[:, :, 0]  # (kinds, blocks, heads, 2, 5)
    flow = flow.mean(axis=2) if head is None else flow[:, :, head]
    own = np.stack([flow[..., q, KEYS.index(name)] for q, name in enumerate(QUERIES)], axis=-1)
    return own / flow[..., PATCH_KEYS].sum(axis=-1)


def plot_mass(found: SameRegionMass, layer: int, head: int | None) -> go.Figure:
    """Same-region mass over the blocks, a line a kind; foreground patches left, background patches right.

    Args:
        found: of one image.
        layer: the chosen block, marked.
        head: the chosen head, None for the mean over heads.

    Returns:
        A figure whose first 2 * kinds traces have one clickable marker a block.
    """
    mass = 100 * mass_over_blocks(found, head)  # (kinds, blocks, 2)
    blocks = np.arange(mass.shape[1])
    figure = make_subplots(1, 2, shared_yaxes=True, subplot_titles=list(QUERIES), horizontal_spacing=0.04)
    for side in range(2):
        for kind, values in zip(found.kinds, mass[..., side], strict=True):
            figure.add_trace(_mass_line(kind, blocks, values, first=side == 0), row=1, col=side + 1)
    for side, chance in enumerate(100 * found.chance[0]):
        figure.add_trace(_chance_line(len(blocks), float(chance), first=side == 0), row=1, col=side + 1)
    apply_theme(figure, "Same-region mass: attention kept inside", 312)
    figure.add_vline(x=layer, line={"color": NEUTRAL, "dash": "dash", "width": 1})
    figure.update_xaxes(title="block", dtick=max(1, len(blocks) // 6), range=[-0.5, len(blocks) - 0.5])
    figure.update_yaxes(range=[0, 105], ticksuffix=" %")
    figure.update_layout(margin={"t": 62, "b": 74}, hovermode="closest", clickmode="event+select")
    figure.update_layout(legend={"y": -0.24, "yanchor": "top", "x": 0, "xanchor": "left"})
    figure.update_annotations(font={"size": 12})
    return figure


def _mass_line(kind: str, blocks: np.ndarray, values: np.ndarray, first: bool) -> go.Scatter:
    title = kind_title(kind)
    return go.Scatter(
        x=blocks,
        y=values.astype(np.float32),
        mode="lines+markers",
        name=title,
        legendgroup=kind,
        showlegend=first,
        line={"color": KIND_COLOURS.get(kind, NEUTRAL), "width": 2},
        marker={"size": 8},
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
        hovertemplate=f"{title}, block %{{x}}: %{{y:.3r}} %<extra></extra>",
    )


def _chance_line(depth: int, chance: float, first: bool) -> go.Scatter:
    return go.Scatter(
        x=[-0.5, depth - 0.5],
        y=[chance, chance],
        mode="lines",
        name="uniform attention",
        legendgroup="chance",
        showlegend=first,
        line={"color": NEUTRAL, "dash": "dot", "width": 1.5},
        hovertemplate="uniform attention: %{y:.3r} %<extra></extra>",
    )


def partner_shares(found: BestPartners, layer: int, head: int | None) -> np.ndarray:
    """(kinds, 2, 6): share of foreground and background patches whose strongest partner is each of `PARTNERS`."""
    return found.mean[:, layer, 0] if head is None else found.heads[:, layer, 0, head]


def partners_by_chance(region: Region, has_cls: bool, registers: int = 0) -> np.ndarray:
    """(2, 6): how often each of `PARTNERS` is drawn where every token is as likely, for patches of both sides.

    Args:
        region: foreground and background patches.
        has_cls: whether there is a CLS token.
        registers: how many registers there are.
    """
    count = region.foreground.size
    tokens = count + has_cls + registers
    sides = int(region.foreground.sum()), int(region.background.sum())
    neither = count - sum(sides)
    rows = []
    for own, other in (sides, sides[::-1]):
        drawn = {"itself": 1, "own region": own - 1, "other region": other, "neither": neither}
        drawn |= {"cls": int(has_cls), "registers": registers}
        rows.append([drawn[name] / tokens for name in PARTNERS])
    return np.array(rows)


def plot_best_partners(
    found: BestPartners, layer: int, head: int | None, chance: np.ndarray | None = None
) -> go.Figure:
    """Who the strongest partner of the patches is, a stacked bar a kind; foreground patches left, background right.

    Args:
        found: of one image.
        layer: the block.
        head: the head, None for the mean over heads.
        chance: (2, 6) from `partners_by_chance`, as the last row; None for none.
    """
    shares = 100 * partner_shares(found, layer, head)  # (kinds, 2, 6)
    names = [kind_title(kind) for kind in found.kinds]
    if chance is not None:
        shares, names = np.concatenate([shares, 100 * chance[None]]), [*names, "by chance"]
    titles = list(QUERIES)
    figure = make_subplots(1, 2, shared_yaxes=True, subplot_titles=titles, horizontal_spacing=0.08)
    drawn = [index for index in range(len(PARTNERS)) if shares[..., index].max() > 0]
    for side in range(2):
        for index in drawn:
            title = _partner_title(PARTNERS[index])
            bar = go.Bar(
                x=shares[:, side, index].astype(np.float32),
                y=names,
                orientation="h",
                name=title,
                legendgroup=title,
                showlegend=side == 0,
                marker={"color": PARTNER_COLOURS[PARTNERS[index]]},
                hovertemplate=f"%{{y}}, {title}: %{{x:.3r}} %<extra></extra>",
            )
            figure.add_trace(bar, row=1, col=side + 1)
    apply_theme(figure, f"The strongest partner in block {layer} is …", 312)
    figure.update_xaxes(range=[0, 100], tickvals=[0, 50, 100], title="patches, %")
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_layout(barmode="stack", bargap=0.3, margin={"t": 62, "b": 74})
    figure.update_layout(legend={"y": -0.24, "yanchor": "top", "x": 0, "xanchor": "left", "traceorder": "normal"})
    figure.update_annotations(font={"size": 12})
    return figure
