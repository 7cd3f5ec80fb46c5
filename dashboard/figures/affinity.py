"""Figures of attention weights: strongest partners of a patch, same-region mass, and who the partners are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis.affinity import KEYS, PARTNERS, PATCH_KEYS, QUERIES, Affinity, BestPartners, SameRegionMass
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


@dataclass(frozen=True, slots=True)
class Partner:
    """A token that a patch attends to.

    Attributes:
        patch: row and column; None for CLS and registers.
        weight: share of the patch's attention, in [0, 1].
        who: one of `PARTNERS`; "neither" where there is no region.
    """

    patch: tuple[int, int] | None
    weight: float
    who: str


def strongest_partners(
    affinity: Affinity, kind: int, patch: tuple[int, int], region: Region | None, count: int = 6
) -> list[Partner]:
    """The tokens with the largest weights in the row of a patch, largest first.

    Args:
        affinity: of one block and head.
        kind: index into `affinity.kinds`.
        patch: row and column of the query.
        region: tells own and other region; None for no region.
        count: how many.
    """
    columns, prefix = affinity.grid[1], affinity.prefix
    row = affinity.weights[kind, prefix + patch[0] * columns + patch[1]]  # (tokens,)
    partners = []
    for token in np.argsort(-row, kind="stable")[:count]:
        if token < prefix:
            partners.append(Partner(None, float(row[token]), "registers" if token or not affinity.has_cls else "cls"))
            continue
        where = int(token - prefix) // columns, int(token - prefix) % columns
        partners.append(Partner(where, float(row[token]), partner_group(patch, where, region)))
    return partners


def partner_group(patch: tuple[int, int], partner: tuple[int, int], region: Region | None) -> str:
    """Which of `PARTNERS` another patch is for a patch."""
    if partner == patch:
        return "itself"
    sides = () if region is None else (region.foreground, region.background)
    own, theirs = ([bool(side[at]) for side in sides] for at in (patch, partner))
    if not any(theirs):
        return "neither"
    return "own region" if own == theirs else "other region"


def plot_partners(affinity: Affinity, patch: tuple[int, int], region: Region | None, count: int = 6) -> go.Figure:
    """The strongest partners of one patch, a panel a kind.

    Args:
        affinity: of one block and head.
        patch: row and column of the query.
        region: tells own and other region; None for no region.
        count: partners a kind.

    Returns:
        A figure whose trace i belongs to kind i; its point j is entry j of `strongest_partners`.
    """
    kinds = affinity.kinds
    shares = affinity.cls_share(patch)
    titles = [
        f"{kind_title(kind)}" + (f", CLS {100 * share:.2g} %" if affinity.has_cls else "")
        for kind, share in zip(kinds, shares, strict=True)
    ]
    figure = make_subplots(1, len(kinds), subplot_titles=titles, horizontal_spacing=min(0.06, 0.4 / len(kinds)))
    shown: set[str] = set()
    for column, index in enumerate(range(len(kinds)), start=1):
        partners = strongest_partners(affinity, index, patch, region, count)
        shown |= {partner.who for partner in partners}
        figure.add_trace(_partner_bars(partners), row=1, col=column)
        names = [_partner_name(partner) for partner in partners]
        figure.update_yaxes(tickvals=list(range(len(names))), ticktext=names, col=column)
    _add_partner_legend(figure, [name for name in PARTNERS if name in shown], region)
    apply_theme(figure, f"Strongest partners of patch row {patch[0]}, column {patch[1]} (row, column)", 272)
    figure.update_xaxes(ticksuffix=" %", rangemode="tozero", nticks=4)
    figure.update_yaxes(autorange="reversed", showgrid=False, zeroline=False)
    figure.update_layout(margin={"t": 62, "b": 52}, clickmode="event+select", bargap=0.2)
    figure.update_layout(legend={"y": -0.16, "yanchor": "top", "x": 0, "xanchor": "left"})
    figure.update_annotations(font={"size": 12})
    return figure


def _partner_name(partner: Partner) -> str:
    if partner.patch is None:
        return "CLS" if partner.who == "cls" else "register"
    return f"{partner.patch[0]}, {partner.patch[1]}"


def _partner_bars(partners: Sequence[Partner]) -> go.Bar:
    return go.Bar(
        x=[100 * partner.weight for partner in partners],
        y=list(range(len(partners))),
        orientation="h",
        marker={"color": [PARTNER_COLOURS[partner.who] for partner in partners]},
        customdata=[[_partner_name(partner), _partner_title(partner.who)] for partner in partners],
        hovertemplate="%{customdata[0]} (%{customdata[1]}): %{x:.3~g} %<extra></extra>",
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
        showlegend=False,
    )


def _partner_title(who: str) -> str:
    return PARTNER_TITLES.get(who, who)


def _add_partner_legend(figure: go.Figure, names: Sequence[str], region: Region | None) -> None:
    for name in names:
        title = "another patch" if region is None and name == "neither" else _partner_title(name)
        marker = {"color": PARTNER_COLOURS[name], "symbol": "square", "size": 10}
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="markers", name=title, marker=marker), row=1, col=1)


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
    apply_theme(figure, "Same-region mass: attention kept inside", 320)
    figure.add_vline(x=layer, line={"color": NEUTRAL, "dash": "dash", "width": 1})
    figure.update_xaxes(title="block", dtick=max(1, len(blocks) // 6), range=[-0.5, len(blocks) - 0.5])
    figure.update_yaxes(range=[0, 105], ticksuffix=" %")
    figure.update_layout(margin={"t": 62, "b": 84}, hovermode="closest", clickmode="event+select")
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
        hovertemplate=f"{title}, block %{{x}}: %{{y:.3~g}} %<extra></extra>",
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
        hovertemplate="uniform attention: %{y:.3~g} %<extra></extra>",
    )


def partner_shares(found: BestPartners, layer: int, head: int | None) -> np.ndarray:
    """(kinds, 2, 6): share of foreground and background patches whose strongest partner is each of `PARTNERS`."""
    return found.mean[:, layer, 0] if head is None else found.heads[:, layer, 0, head]


def plot_best_partners(found: BestPartners, layer: int, head: int | None) -> go.Figure:
    """Who the strongest partner of the patches is, a stacked bar a kind; foreground patches left, background right.

    Args:
        found: of one image.
        layer: the block.
        head: the head, None for the mean over heads.
    """
    shares = 100 * partner_shares(found, layer, head)
    names = [kind_title(kind) for kind in found.kinds]
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
                hovertemplate=f"%{{y}}, {title}: %{{x:.3~g}} %<extra></extra>",
            )
            figure.add_trace(bar, row=1, col=side + 1)
    apply_theme(figure, f"The strongest partner in block {layer} is …", 320)
    figure.update_xaxes(range=[0, 100], tickvals=[0, 50, 100], title="patches, %")
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_layout(barmode="stack", bargap=0.3, margin={"t": 62, "b": 84})
    figure.update_layout(legend={"y": -0.24, "yanchor": "top", "x": 0, "xanchor": "left", "traceorder": "normal"})
    figure.update_annotations(font={"size": 12})
    return figure
