"""The Flip page: is the map flipped, where does its sign turn, who writes it, and what happens without that part?

One window holds it all: a headline; the maps on the left, on the first of which the region is drawn; lens above
waterfall; heads above blame against removal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from analysis.decomposition import Component
from analysis.flips import FlipReport, MethodReading
from analysis.numerals import auc
from dashboard import events, services, state
from dashboard.case import Case, describe_method, examinable_prompts, examined_prompt, method_title
from dashboard.figures import flip as figures
from dashboard.figures import shared_limit
from dashboard.pages.flip import PAGE, results
from dashboard.pages.flip.exports import flip_exports, with_custom
from dashboard.pages.flip.looks import render_look
from dashboard.pages.flip.region import FIELD, take_drawing
from dashboard.pages.flip.settings import FlipSettings
from dashboard.panels.mapview import Cell, MapView, Row, photo_of, render_map_view
from dashboard.panels.notes import region_note, take_patch
from dashboard.panels.page import EXPECTED, Exports
from dashboard.panels.texts import in_visitors_words, plain
from dashboard.regions import outline_path
from dashboard.removals import removed_parts, title_without

HELP = """
**Contrast** is the mean cosine of the region's patches with the text, minus that of the background patches.
**Flip AUC** is the probability that a patch of the region outscores one of the background; below 0.5 the map is
flipped. Neighbouring patches are alike, so the 95 % interval of the AUC counts them for less than their number: its
variance uses the map's own correlation of neighbours, rho^distance (Clifford et al. 1989). Where the interval
holds 0.5, one side has fewer than five patches, or the weights are random, the verdict is *cannot tell*.

**Logit lens**: the tokens after every block go through the model's read-out as if it were the last block
(nostalgebraist 2020, *interpreting GPT: the logit lens*).

**Blame**: the last token is the sum of what the embedding, every head and every MLP wrote, and the read-out is linear
once the LayerNorm's deviation of each token is frozen. So the cosine of a patch is exactly one signed term per
component, and the terms add up to the contrast (Elhage et al. 2021; Gandelsman et al. 2024, arXiv 2310.05916; here
for every patch).

**Removal**: the component's output is replaced by its mean over the patches, and the network is run again from its
block on (mean ablation, Wang et al. 2022, arXiv 2211.00593). Blame is arithmetic, removal is cause: an early component
also acts through the later ones, so the two can differ.

**All heads**: one map a head and MLP, its term of every patch's cosine (its blame, patch by patch), or the places that
it brings that from: attention times value, which with CLS add up to the head's term of the chosen patch, or of the
contrast.

**Path**: the input of a head is a sum over all that wrote before it, so with norms frozen its scores (region against
background, before the softmax) are exactly a sum over its query, or over its key, and what it writes a sum over its
value (Elhage et al. 2021; Gandelsman et al. 2025, arXiv 2406.04341).

**In words**: TextSpan (Gandelsman et al. 2024) names the texts of a list whose directions hold most of the variance of
what a head writes. A channel of the last residual stream writes one direction, said by the nearest texts.

**Together**: several components removed at once, beside the sum of their single removals: they read each other, and
every norm divides by the length of what all wrote.

**Explainers**: relevance of the text by gradients and attention, each map over its own largest value; Maps has the
slower ones, and its help their sources.

**Names**: a3 is the attention of block 3, a3.h1 its head 1, m3 its MLP. Blocks and heads count from 0.
"""

DRAW = (
    "**Draw the region that should light up**: drag a box over the object in the map, or trace it with the lasso. The "
    "exact masks of made scenes, and mask files, are in the sidebar."
)


def render_flip(case: Case, own: FlipSettings) -> Exports:
    """Headline, maps, and right of them one of the looks."""
    headline = st.container(horizontal=True, vertical_alignment="center", key="headline")
    if not case.region:
        with headline:
            st.markdown(DRAW, width="stretch")
            _render_prompt(case)
        _render_map_alone(case)
        return Exports()
    maps, right = st.columns([1.7, 2], gap="small")
    with maps:
        problem = _region_problem(case)
        if problem is not None:
            _render_map_alone(case)
            raise problem
        with st.spinner("Decomposing the map …", show_time=True):
            report = results.flip_report(case)
    asked = results.chosen_component(case, report.blame)
    chosen = asked or results.worst_component(report)
    with headline:
        _render_headline(case, report, asked)
    with maps:
        _render_maps(case, own, report, chosen)
    with right:
        report = render_look(case, own, report, chosen)
    return flip_exports(case, own, report, chosen)


def _region_problem(case: Case) -> Exception | None:
    """Why the region cannot be used: then another one can still be drawn."""
    try:
        services.region(case)
    except EXPECTED as error:
        return error
    return None


def _render_prompt(case: Case) -> None:
    st.selectbox(
        "Prompt under examination",
        examinable_prompts(case),
        label_visibility="collapsed",
        width=190,
        help="The phrase of the region where it has one, else the first prompt, unless another is chosen here.",
        **state.widget("flip prompt", examined_prompt(case), lambda case, chosen: replace(case, prompt=chosen)),
    )


def _render_headline(case: Case, report: FlipReport, chosen: Component | None) -> None:
    """One line with the figures that matter, the prose behind "more", and the prompt."""
    shown = with_custom(case, report)
    st.markdown(f"## {plain(shown.headline(chosen))}", width="content")
    with st.popover("more", type="tertiary"):
        st.markdown(plain(shown.explanation))
        st.markdown(PAGE.look_for)
    _render_prompt(case)


def _render_map_alone(case: Case) -> None:
    """The CLIP map to draw on, where there is no region that could be judged."""
    values = results.examined_maps(case, "clip").patches[:, :, 0]
    row = Row(f"“{examined_prompt(case)}”", (Cell("CLIP", values, note=region_note(values, None)),))
    view = MapView(photo_of(services.image(case)), (row,), shared_limit([values]), patch=case.patch, draw=True)
    _render_view(case, view, ())


def _render_view(case: Case, view: MapView, names: Sequence[str]) -> None:
    size, grid = services.image(case).rgb.shape[:2], services.grid(case)

    def happened(event: Mapping[str, Any]) -> None:
        take_patch(event, grid)
        take_drawing(event, size)
        take_method(event, names)

    render_map_view(view, key="flip maps", on_event=happened)
    problem = state.problem(FIELD)
    if problem is not None:
        st.error(f"{plain(in_visitors_words(problem[1]))}\n\nDraw a larger region; it stays as it was.")


def _render_maps(case: Case, own: FlipSettings, report: FlipReport, chosen: Component | None) -> None:
    """The CLIP map, what the component adds to it, the map without it; below, the maps of all methods."""
    with st.spinner("Running the network without it …", show_time=True):
        cells = map_cells(case, own, report, chosen)
    readings = with_custom(case, report).readings
    small = method_cells(case, own, readings)
    mask, picture = services.region_mask(case), services.image(case)
    view = MapView(
        photo=photo_of(picture),
        rows=(Row("", tuple(cells)), Row("", tuple(small), chooses=True)),
        limit=shared_limit([cell.values for cell in (*cells, *small)]),
        outline=outline_path(mask, picture.rgb.shape[:2]),
        patch=case.patch,
        draw=True,
        wide=True,
    )
    _render_view(case, view, [*readings])


def map_cells(case: Case, own: FlipSettings, report: FlipReport, chosen: Component | None) -> list[Cell]:
    """The maps of the first row, each with contrast and flip AUC below it."""
    region, whole = report.region, report.readings["clip"].values
    cells = [Cell("CLIP", whole, note=region_note(whole, region), hint="The map under examination.")]
    if chosen is not None:
        term = results.term_map(report.blame, chosen)
        name = figures.describe_component(chosen)
        hint = f"What the {name} adds to the cosine of every patch. All components together are the CLIP map."
        cells.append(Cell(f"what {chosen.label} adds", term, note=region_note(term, region), hint=hint))
    if chosen is not None and results.can_be_removed(chosen):
        without = results.map_without(case, chosen)
        hint = f"The {name} gives every patch its mean; the network ran again from its block on."
        cells.append(Cell(f"without {chosen.label}", without, note=region_note(without, region), hint=hint))
    parts = removed_parts(case)
    if parts and parts != (chosen,):
        together, hint = results.joint_map(case), "All of them give every patch their mean, at once. Kept on Maps."
        cells.append(Cell(title_without(parts), together, note=region_note(together, region), hint=hint))
    if own.beside and case.method_a != "clip":
        reading = with_custom(case, report).readings.get(case.method_a)
        if reading is not None:
            note, hint = region_note(reading.values, region), describe_method(reading.method)
            cells.append(Cell(method_title(case.method_a), reading.values, note=note, hint=hint))
    return cells


def method_cells(case: Case, own: FlipSettings, readings: Mapping[str, MethodReading]) -> list[Cell]:
    """A small map a method with its flip AUC; the one that stands in the row above is marked. Pure."""
    return [
        Cell(
            method_title(name),
            found.values,
            note=f"AUC {auc(found.flip_auc)}",
            hint=describe_method(found.method),
            chosen=own.beside and name == case.method_a,
        )
        for name, found in readings.items()
    ]


def take_method(event: Mapping[str, Any], names: Sequence[str]) -> None:
    """A click on a small map puts it into the row above, or takes it away again."""
    cell = events.picked_cell(event, 2, len(names))
    if cell is None or cell[0] != 1:
        return
    name, beside = names[cell[1]], state.settings(FlipSettings).beside
    again = name == "clip" or (beside and name == state.case().method_a)
    state.adjust(FlipSettings, beside=not again)
    if not again:
        state.update(method_a=name)
