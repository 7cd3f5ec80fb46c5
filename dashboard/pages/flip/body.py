"""The Flip page: is the map flipped, where does its sign turn, who writes it, and what happens without that part?"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import streamlit as st

from analysis.decomposition import Component
from analysis.flips import FlipReport
from dashboard import catalogue, events, services, state
from dashboard.case import CUSTOM, Case, describe_method, examinable_prompts, examined_prompt, method_title
from dashboard.figures import flip as figures
from dashboard.figures import shared_limit
from dashboard.jobs import Job, Stopped
from dashboard.pages.flip import results
from dashboard.pages.flip.exports import flip_exports, with_custom
from dashboard.pages.flip.region import render_region
from dashboard.pages.flip.settings import FlipSettings
from dashboard.panels.chart import render_figure
from dashboard.panels.mapview import Cell, MapView, Row, photo_of, render_map_view
from dashboard.panels.notes import region_note, take_patch
from dashboard.panels.page import Exports
from dashboard.panels.texts import plain
from dashboard.panels.work import is_under_way, watch
from dashboard.regions import outline_path

HELP = """
**Contrast** is the mean cosine of the region's patches with the text, minus that of the background patches.
**Flip AUC** is the probability that a patch of the region outscores one of the background; below 0.5 the map is
flipped.

**Logit lens**: the tokens after every block go through the model's read-out as if it were the last block
(nostalgebraist 2020, *interpreting GPT: the logit lens*).

**Blame**: the last token is the sum of what the embedding, every head and every MLP wrote, and the read-out is linear
once the LayerNorm's deviation of each token is frozen. So the cosine of a patch is exactly one signed term per
component, and the terms add up to the contrast (Elhage et al. 2021; Gandelsman et al. 2024, arXiv 2310.05916; here
for every patch).

**Removal**: the component's output is replaced by its mean over the patches, and the network is run again from its
block on (mean ablation, Wang et al. 2022, arXiv 2211.00593). Blame is arithmetic, removal is cause: an early component
also acts through the later ones, so the two can differ.

**Names**: a3 is the attention of block 3, a3.h1 its head 1, m3 its MLP. Blocks and heads count from 0.
"""

DRAW = """
**Draw the region that should light up.** Drag a box over the object in the picture, or trace its outline with the
lasso of the tool bar, which appears above the picture while the pointer is over it. A made scene also has its objects'
exact masks, and a mask file can be uploaded: both are under *Region that should light up* in the sidebar.
"""

AUTOMATIC = frozenset({catalogue.TOY})
"""Models whose components are all removed without being asked to: it takes less than a second."""


def render_flip(case: Case, own: FlipSettings) -> Exports:
    """Photograph and verdict, lens and waterfall, the maps of the chosen component, heads and removals."""
    text = examined_prompt(case)
    photo, words = st.columns([1, 1.75], gap="medium")
    with photo:
        _render_prompt(case, text)
        render_region(case)
    if not case.region:
        words.info(DRAW, icon=":material/ink_selection:")
        with words:
            _render_map_alone(case, text)
        return Exports()
    with words, st.spinner("Decomposing the map …", show_time=True):
        report = results.flip_report(case)
    chosen = results.chosen_component(case, report.blame)
    with words:
        _render_verdict(case, report)
    _render_depth(case, report, chosen)
    _render_maps(case, own, report, chosen)
    report = _render_components(case, report, chosen)
    return flip_exports(case, own, report, chosen)


def _render_prompt(case: Case, text: str) -> None:
    st.selectbox(
        "Prompt under examination",
        examinable_prompts(case),
        help="The phrase of the region where it has one, else the first prompt, unless another is chosen here.",
        **state.widget("flip prompt", text, lambda case, chosen: replace(case, prompt=chosen)),
    )


def _render_map_alone(case: Case, text: str) -> None:
    values = results.examined_maps(case, "clip").patches[:, :, 0]
    cell = Cell("CLIP", values, note=region_note(values, None))
    row = Row(f"“{text}”", (cell,))
    view = MapView(photo_of(services.image(case)), (row,), shared_limit([values]), patch=case.patch)
    render_map_view(view, key="flip map alone", on_event=lambda event: take_patch(event, services.grid(case)))


def _render_verdict(case: Case, report: FlipReport) -> None:
    shown = with_custom(case, report)
    st.markdown(f"#### {shown.verdict}", help="Flip AUC of the CLIP map below 0.5 means flipped.")
    st.markdown(plain(shown.explanation))
    names = [*shown.readings]
    render_figure(
        figures.plot_methods(shown, case.method_a),
        key="flip methods",
        on_event=lambda event: _take_method(event, names),
    )
    st.caption("Right of the dotted line the object lights up. Click a bar to see its map below.")


def _take_method(event: Mapping[str, Any], names: Sequence[str]) -> None:
    index = events.picked_index(event, 0)
    if index is not None and index < len(names):
        state.update(method_a=names[index])


def _render_depth(case: Case, report: FlipReport, chosen: Component | None) -> None:
    lens, waterfall = st.columns(2, gap="medium")
    with lens:
        render_figure(figures.plot_lens(report, case.layer), key="flip lens", on_event=_take_lens)
        st.caption(lens_caption(report))
    with waterfall:
        parts = figures.waterfall_components(report)
        render_figure(
            figures.plot_waterfall(report, chosen), key="flip waterfall", on_event=lambda e: _take_component(e, parts)
        )
        st.caption("Blue bars pull towards the background. Click a bar for its own map.")


def lens_caption(report: FlipReport) -> str:
    """What to look for in the logit lens: a line that crosses zero, or keeps its sign; "" for a ResNet. Pure."""
    if not len(report.lens_contrast):
        return ""
    if report.turning_layer is None:
        return "The line never crosses zero: no block turns the map. Click a point to choose its block."
    return "Where the line crosses zero the map turns. Click a point to choose its block."


def _take_lens(event: Mapping[str, Any]) -> None:
    index = events.picked_index(event, 0)
    if index is not None:
        state.update(**results.choice_of(figures.lens_component(index)))


def _take_component(event: Mapping[str, Any], parts: Sequence[Component]) -> None:
    part = figures.component_index(parts, events.picked_index(event, 0))
    if part is not None:
        state.update(**results.choice_of(part))


def _render_maps(case: Case, own: FlipSettings, report: FlipReport, chosen: Component | None) -> None:
    """The CLIP map, what the chosen component adds to it, the map without it, and the map of the chosen method."""
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        if chosen is None:
            st.markdown("**No component is chosen.** Click a bar, a cell or a dot.", width="content")
        else:
            name = figures.describe_component(chosen)
            st.markdown(f"**{plain(chosen.label)}** · {plain(name)}", width="content")
            st.toggle(
                "ablate",
                help="Shows the map without the component: mean-ablated, and re-run from its block on.",
                disabled=not results.can_be_removed(chosen),
                **state.setting(own, "ablate"),
            )
            nothing = {"component": "", "layer": None, "head": None}
            st.button("Clear choice", type="tertiary", on_click=lambda: state.update(**nothing))
    with st.spinner("Running the network without it …", show_time=True):
        cells = map_cells(case, own, report, chosen)
    mask, picture = services.region_mask(case), services.image(case)
    view = MapView(
        photo=photo_of(picture),
        rows=(Row("", tuple(cells)),),
        limit=shared_limit([cell.values for cell in cells]),
        outline=outline_path(mask, picture.rgb.shape[:2]),
        patch=case.patch,
    )
    render_map_view(view, key="flip maps", on_event=lambda event: take_patch(event, services.grid(case)))


def map_cells(case: Case, own: FlipSettings, report: FlipReport, chosen: Component | None) -> list[Cell]:
    """The maps of the row, each with contrast and flip AUC below it."""
    region, whole = report.region, report.readings["clip"].values
    cells = [Cell("CLIP", whole, note=region_note(whole, region), hint="The map under examination.")]
    if chosen is not None:
        term = results.term_map(report.blame, chosen)
        hint = "What the component adds to the cosine of every patch. All components together are the CLIP map."
        cells.append(Cell(f"what {chosen.label} adds", term, note=region_note(term, region), hint=hint))
        if own.ablate and results.can_be_removed(chosen):
            without = results.map_without(case, chosen)
            hint = "The component gives every patch its mean; the network ran again from its block on."
            cells.append(Cell(f"CLIP without {chosen.label}", without, note=region_note(without, region), hint=hint))
    if case.method_a != "clip":
        reading = _reading(case, report, case.method_a)
        if reading is not None:
            note, hint = region_note(reading.values, region), describe_method(reading.method)
            cells.append(Cell(method_title(case.method_a), reading.values, note=note, hint=hint))
    return cells


def _reading(case: Case, report: FlipReport, name: str) -> Any:
    return results.read_map(case, name) if name == CUSTOM else report.readings.get(name)


def _render_components(case: Case, report: FlipReport, chosen: Component | None) -> FlipReport:
    """Heads and removals; returns the report with the interventions that were computed."""
    heads, removal = st.columns(2, gap="medium")
    with heads:
        parts = figures.heads_components(report)
        render_figure(
            figures.plot_heads(report, chosen), key="flip heads", on_event=lambda e: _take_component(e, parts)
        )
        st.caption("The bluest cells write the flip. Click a cell to choose its block and head.")
    with removal:
        report = _render_removals(case, report, chosen)
    return report


def _render_removals(case: Case, report: FlipReport, chosen: Component | None) -> FlipReport:
    if case.model in AUTOMATIC:
        results.removal_of_all(case, heads=False)(Job())
        report = results.flip_report(case)
    parts = [found.component for found in report.interventions]
    missing = {heads: len({*results.removable(case, heads)} - {*parts}) for heads in (False, True)}
    if parts:
        render_figure(
            figures.plot_ablation(report, chosen), key="flip removals", on_event=lambda e: _take_component(e, parts)
        )
        st.caption("On the dotted line removal does what blame says; far off it, a component acts through later ones.")
    else:
        st.markdown("**Blame against removal**")
        st.caption("Blame is arithmetic. Remove components, and a plot shows whether each is also a cause.")
    _render_removal_buttons(case, missing)
    return report


def _render_removal_buttons(case: Case, missing: Mapping[bool, int]) -> None:
    """Buttons for what was missing when the figure was drawn; a job that has gone on since then draws it anew."""
    for heads, words in ((False, "attention output and MLP"), (True, "head and MLP")):
        if not missing[heads]:
            continue
        key, title = results.removal_key(case, heads), f"Removing every {words}"
        label = f"Remove every {words}: {missing[heads]} re-runs"
        asked = st.button(label, key=f"flip remove {words}", help="Can be stopped; what is done is kept.")
        if asked or is_under_way(key, title):
            with suppress(Stopped):
                watch(key, title, results.removal_of_all(case, heads))
            st.rerun()
        if len(results.missing_removals(case, heads)) != missing[heads]:
            st.rerun()
