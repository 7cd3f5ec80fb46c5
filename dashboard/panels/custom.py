"""The controls of the free method, on every page that follows it."""

from dataclasses import replace

import streamlit as st

from dashboard import state
from dashboard.address import MAX_ALPHA
from dashboard.case import Case
from dashboard.figures.theme import kind_title
from dashboard.panels.texts import in_visitors_words, plain, why_not
from surgery import Model
from surgery.attention import KINDS
from surgery.dense import fit_method

LAST_BLOCKS = "How many of the last blocks are walked again, with this kind of attention, for the map custom."
RESIDUAL = "Factor of the residual in these blocks: 1 as in CLIP, 0 as in ClearCLIP."
ALPHA = "Factor of the attention output in these blocks: 1 as in CLIP; the larger, the less the residual speaks."

MIXTURE = (
    "Type a mixture for more than one kind: weights times kinds, each of its own block or of others counted from the "
    "last, such as 0.5*qq + 0.5*qq@-6..-3 (ITACLIP and ResCLIP are such mixtures)."
)
FIELD = "custom attention"
"""Name of the problem that keeps a mixture that could not be read."""


def render_custom(case: Case, model: Model) -> None:
    """All controls below each other, for a popover."""
    _render_kind_and_blocks(case, model)
    _render_alpha(case)
    _render_residual_and_mlp(case)


def render_custom_briefly(case: Case, model: Model) -> None:
    """The slider of alpha; the others behind a button beside it."""
    alpha, rest = st.columns([1.8, 1], gap="small", vertical_alignment="bottom")
    with alpha:
        _render_alpha(case)
    with rest.popover(f"{kind_title(case.custom.attention)}, {case.custom.blocks} blocks", width="stretch"):
        _render_kind_and_blocks(case, model)
        _render_residual_and_mlp(case)


def _render_kind_and_blocks(case: Case, model: Model) -> None:
    depth, method = len(model.tower.blocks), case.custom
    _render_kind(case, model)
    if depth > 1:
        st.slider("last blocks", 1, depth, help=LAST_BLOCKS, **_custom("blocks", method.blocks, value=method.blocks))


def _render_alpha(case: Case) -> None:
    alpha = float(case.custom.alpha)
    largest = min(MAX_ALPHA, max(5.0, alpha))
    st.slider("alpha", 0.0, largest, step=0.05, help=ALPHA, **_custom("alpha", alpha, value=alpha))


def _render_residual_and_mlp(case: Case) -> None:
    residual, mlp = float(case.custom.residual), case.custom.mlp
    st.slider("residual", 0.0, 1.0, step=0.05, help=RESIDUAL, **_custom("residual", residual, value=residual))
    st.toggle("MLP", help="Whether the MLPs of these blocks add their output.", **_custom("mlp", mlp, value=mlp))


def _render_kind(case: Case, model: Model) -> None:
    """The kind of attention, one of the list or a mixture that is typed; what cannot be read is said and not taken."""
    kinds, kind = model.tower.kinds or KINDS, case.custom.attention
    options = kinds if kind in kinds else (*kinds, kind)
    st.selectbox(
        "attention kind",
        options,
        format_func=kind_title,
        accept_new_options=True,
        help=MIXTURE,
        **state.tied(FIELD, kind, lambda new: _set_kind(model, new), {"index": options.index(kind)}),
    )
    problem = state.problem(FIELD)
    if problem is not None:
        st.error(f"“{plain(problem[0])}”: {plain(problem[1])} The map stays as it was.")


def _set_kind(model: Model, text: str) -> None:
    case = state.case()
    try:
        method = replace(case.custom, attention=" ".join(text.split()))
    except ValueError:
        state.set_problem(FIELD, text, "No kind of attention, and no mixture such as 0.5*qq + 0.5*qq@-6..-3.")
        return
    try:
        fit_method(model.tower, method)
    except ValueError as error:
        reason = why_not(method, len(model.tower.blocks), model.tower.kinds)
        state.set_problem(FIELD, text, reason or in_visitors_words(str(error)))
    else:
        state.clear_problem(FIELD)
        state.update(custom=method)


def _custom(field: str, shown: object, **given: object) -> dict:
    def changed(case: Case, new: object) -> Case:
        return replace(case, custom=replace(case.custom, **{field: new}))

    return state.widget(f"custom {field}", shown, changed, given)
