"""Which map explains best, on the Maps page: every method and explainer of one text by five figures."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from analysis.explainers import usable_explainers
from analysis.judging import BASELINES, FIGURES, Judge, Judgement, explanation_maps, iterate_judged
from dashboard import services, state
from dashboard.case import Case, examined_prompt, is_judged, method_of, method_title
from dashboard.figures.judged import plot_judged
from dashboard.jobs import Job, locked
from dashboard.keys import TextKey, TraceKey
from dashboard.pages.maps.settings import MapsSettings
from dashboard.panels.chart import render_figure
from dashboard.panels.page import File
from dashboard.panels.texts import plain
from dashboard.panels.work import work_through
from dashboard.snippets import import_methods, join, python_case, python_method
from data.store import to_csv
from surgery import Method
from surgery.dense import fit_method

TITLE = "Judging the maps"
STEPS = 28
FIGURE_TITLES = {
    "insertion": "insertion ↑",
    "deletion": "deletion ↓",
    "flip_auc": "AUC ↑",
    "pointing": "pointing ↑",
    "score_contrast": "score contrast ↑",
}
HELP = (
    "Insertion and deletion: area under the cosine as patches are shown, or hidden, in the order of the map. AUC, "
    "pointing and score contrast: whether the map lies on the region. Beside them a random order and nearness to the "
    "centre: what does not beat both says nothing by that figure."
)
WEAKNESSES = (
    "Images with hidden patches are unlike what the model was trained on (arXiv 1806.10758), and the areas move with "
    "what is put in a hole. Figures of the region judge the model together with the map. Pointing looks at one patch "
    "and favours the centre; score contrast follows the single lowest and highest value."
)


@dataclass(frozen=True, slots=True)
class JudgeKey:
    """What a judgement depends on."""

    trace: TraceKey
    text: TextKey
    region: str
    methods: tuple[tuple[str, Method], ...]
    explainers: tuple[str, ...]
    steps: int


def render_judged(case: Case, own: MapsSettings) -> dict[str, File]:
    """A switch, and with it the table and curves; returns what can be taken away."""
    st.toggle("which explains best", help=HELP, **state.setting(own, "judged"))
    if not own.judged or not case.prompts:
        return {}
    found = work_through(judge_key(case), TITLE, judge_work(case))
    if found is None:
        return {}
    table = judged_table(found)
    left, right = st.columns([1.25, 1], gap="medium")
    with left:
        chosen = _render_table(table)
        st.caption(f"“{plain(examined_prompt(case))}”, cosine with the image {found.cosine:.3f}. {WEAKNESSES}")
    with right:
        names = [table.name.iloc[row] for row in chosen] or [table.name.iloc[0]]
        shown = [one for one in found.maps if one.name in names or one.map.group == "baseline"]
        render_figure(plot_judged(shown), "judged curves")
    lines = python_judged(case)
    return {
        "CSV, which explains best": File("judged.csv", lambda: to_csv(table)),
        "Python, which explains best": File("judged.py", lambda: lines.encode()),
    }


def _render_table(table: pd.DataFrame) -> list[int]:
    """The table; returns the rows whose curves are wanted."""
    shown = table[["title", "beats", *FIGURE_TITLES]]
    numbers = {
        name: st.column_config.NumberColumn(title, format="%.3f", width="small")
        for name, title in FIGURE_TITLES.items()
    }
    event = st.dataframe(
        shown,
        hide_index=True,
        height=330,
        column_config={
            "title": st.column_config.TextColumn("map"),
            "beats": st.column_config.TextColumn(
                "beats both", help="In how many figures it is better than both baselines."
            ),
            **numbers,
        },
        on_select="rerun",
        selection_mode="multi-row",
        key="judged table",
    )
    return [row for row in event.selection.rows if row < len(table)]


def judge_methods(case: Case) -> dict[str, Method]:
    """The case's methods that have a meaning for its model."""
    tower, found = services.model(case).tower, {}
    for name in case.methods:
        try:
            found[name] = fit_method(tower, method_of(case, name))
        except ValueError:
            continue
    return found


def judge_key(case: Case) -> JudgeKey:
    """The key of the judgement that the page shows."""
    texts = services.text_key(case, (examined_prompt(case),))
    names = usable_explainers(services.model(case).tower)
    methods = tuple(judge_methods(case).items())
    return JudgeKey(services.trace_key(case), texts, judging_region(case), methods, names, STEPS)


def judging_region(case: Case) -> str:
    """The region where it speaks of the examined text, else ""."""
    return case.region if case.region and is_judged(case, examined_prompt(case)) else ""


def judge_work(case: Case) -> Callable[[Job[Judgement]], Judgement]:
    """Work: maps first, then insertion and deletion of one map after the other."""
    key, loaded, picture = judge_key(case), services.model(case), services.original(case)
    text, turn = services.text(case, (examined_prompt(case),)), services.turn(case)
    region = services.region(case) if key.region else None

    def work(job: Job[Judgement]) -> Judgement:
        job.report(0.0, "maps")
        with turn:
            pixels = loaded.preprocess([picture.to_pil()], key.trace.size, fit=key.trace.fit)
            maps = explanation_maps(loaded, pixels, text, dict(key.methods), key.explainers)
            judge = Judge(loaded, pixels, text)
        judged = []
        for one in locked(turn, iterate_judged(judge, maps, region, key.steps)):
            judged.append(one)
            job.report(len(judged) / len(maps), f"{len(judged)} of {len(maps)} maps")
        with turn:
            cosine = float(judge.cosines(pixels)[0, 0])
        return Judgement(tuple(judged), cosine, loaded.name)

    return work


def judged_table(found: Judgement) -> pd.DataFrame:
    """The table with how many figures beat both baselines, the best insertion first. Pure."""
    table = found.table()
    table["title"] = [
        method_title(name) if group == "method" else title
        for name, group, title in zip(table.name, table.group, table.title, strict=True)
    ]
    table["beats"] = [_beats(table, row) for row in range(len(table))]
    return table.sort_values("insertion", ascending=False, kind="stable", ignore_index=True)


def _beats(table: pd.DataFrame, row: int) -> str:
    if table.name[row] in BASELINES:
        return "baseline"
    if table.constant[row]:
        return "constant: no order"
    won = known = 0
    for figure, more in FIGURES.items():
        value = table[figure][row]
        bars = table[figure][table.name.isin(list(BASELINES))]
        if np.isfinite(value) and np.isfinite(bars).all():
            known += 1
            won += int(value > bars.max()) if more else int(value < bars.min())
    return f"{won} of {known}"


def python_judged(case: Case) -> str:
    """`table`, a row a map, as the page shows it."""
    names = [*judge_methods(case)]
    methods = ", ".join(f"{name!r}: {python_method(case, name)}" for name in names)
    region = "region" if judging_region(case) else "None"
    imports = ["from analysis.judging import judge_explanations", *import_methods(names)]
    body = [
        f"methods = {{{methods}}}",
        f"text = model.encode_text([{examined_prompt(case)!r}], templates={case.templates!r})",
        f"table = judge_explanations(model, pixels, text, {region}, methods=methods, steps={STEPS}).table()",
        'print(table.sort_values("insertion", ascending=False).to_string())',
    ]
    needs = ("pixels", "region") if judging_region(case) else ("pixels",)
    return join(python_case(case, *needs), imports, body)
