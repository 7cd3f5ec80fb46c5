"""What every page has in common: title, case line, [link] [python] [save], help, and one place that catches errors.

page.render(PAGE, HELP, render_maps)      # PageInfo, Markdown of ours, and (case, settings) -> Exports
"""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

import streamlit as st
import torch
from streamlit.delta_generator import DeltaGenerator

from dashboard import catalogue, services, state
from dashboard.address import to_link, to_query
from dashboard.case import RANDOM, Case, describe_model, fit_case
from dashboard.download import download
from dashboard.exports import Archive, Exports, make_zip
from dashboard.exports import File as File
from dashboard.figures.maps import NARROWEST, WIDEST
from dashboard.jobs import Stopped
from dashboard.pages.info import PageInfo
from dashboard.panels import shown
from dashboard.panels.case import case_parts, image_title, render_case_line
from dashboard.panels.drawer import render_drawer
from dashboard.panels.texts import in_visitors_words, plain
from dashboard.panels.work import is_under_way, watch
from dashboard.settings import Settings
from data.toy.vocabulary import describe_limits
from surgery import Model, WeightsNotFound
from surgery.catalog import TagInfo
from surgery.integrity import discard

RELOAD_S = 60.0
"""For so long a download goes on with nobody there, so that a page that is loaded anew finds it under way."""
DOWNLOAD = "download"
"""Name of the problem that keeps why the last download failed."""
NO_WEIGHTS = "to be cached or to be downloaded"
UNKNOWN_MODELS = ("Expected model to be", "Expected weights of", "Expected a local checkpoint")

_badges: ContextVar[DeltaGenerator] = ContextVar("badges")

ALIKE = 0.02
"""Shapes that differ by less are told to nobody."""

EXPECTED = (ValueError, OSError)
"""Errors that say what was wrong with the input; everything else is a defect and shows as one."""


def render(info: PageInfo, help: str, body: Callable[[Case, Settings], Exports]) -> None:
    """Draws a page around `body`, which draws the plots of the case and returns what can be taken away."""
    case = state.case()
    shown.begin()
    with st.container(horizontal=True, vertical_alignment="center", key="frame"):
        st.title(info.title, width="content", anchor=False)
        with st.container(width="content", key="question"):
            st.markdown(info.question, width="content")
        tools = st.container(horizontal=True, width="content", gap="small")
        with tools:
            render_drawer(case)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="case-line"):
        guarded(case, render_case_line)
        _badges.set(st.container(horizontal=True, width="content", gap="small", key="badges"))
    for name in state.ignored_parameters():
        text = f"The address has a value for “{plain(name)}” that cannot be used; the default is shown instead."
        render_badge(f"{plain(name)} ignored", text)
    if not info.has_headline:
        st.markdown(info.look_for)
    fit = _fitted if info.examines_case else lambda case: case
    exports = guarded(case, lambda case: body(fit(case), state.settings(info.settings)))
    with tools:
        _render_tools(info, help, exports or Exports())


def render_badge(label: str, text: str) -> None:
    """Says in the case line, in a word or two, what a visitor should know of this view; the whole text on a click.

    Args:
        label: in the line.
        text: Markdown.
    """
    with _badges.get().popover(label, type="tertiary"):
        st.warning(text)


def guarded(case: Case, work: Callable[[Case], object]) -> object | None:
    """Runs `work(case)`; what goes wrong with the input is told with what to do next, and None is returned."""
    try:
        return work(case)
    except Stopped:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown("Stopped. Choose another input size, image or model, or", width="content")
            st.button("Start again", key="start the case again", on_click=state.go_on)
    except services.MissingImage as error:
        st.info(
            f"This view belongs to an uploaded image that is not here: SHA-256 `{error.sha256[:16]}…`. "
            "Upload the file in the sidebar to see it, or choose a sample."
            if error.sha256.isalnum()
            else "The address names an image that cannot exist. Choose a sample in the sidebar."
        )
    except catalogue.DownloadNeeded as error:
        _offer_download(case, error)
    except torch.OutOfMemoryError as error:
        if services.runs_on_cpu_instead(case):
            st.error(f"{plain(str(error))}\n\nChoose a smaller model or input size.")
        else:
            services.move_to_cpu(case)
            st.rerun()
    except WeightsNotFound as error:
        _tell_missing_weights(case, error)
    except EXPECTED as error:
        st.error(f"{plain(in_visitors_words(str(error)))}\n\n{plain(next_step(error))}")
        if str(error).startswith(UNKNOWN_MODELS):
            _render_back_to_toy()
    return None


def next_step(error: Exception) -> str:
    """What a visitor can do about an expected error. Pure."""
    text = str(error)
    steps = {
        NO_WEIGHTS: "Or choose a model that is marked as here; the toy always is. The picker also offers files, "
        "where the dashboard was started with clip-theatre app --models FOLDER.",
        "prompts": "Type at least one prompt in the sidebar, for example: a red circle, grass",
        "region": "Choose another region in the sidebar, or none.",
        "mask": "Upload the mask again in the sidebar, or choose no region.",
        "size": "Choose another input size below the case line.",
        "blocks": "Choose fewer blocks, or leave this method out for this model.",
    }
    found = (step for word, step in steps.items() if f"Expected {word}" in text or word in text)
    return next(found, "Change the model, image or prompts in the sidebar.")


def _fitted(case: Case) -> Case:
    """The case without what this model and image do not have; the session forgets it too."""
    if state.is_stopped():
        raise Stopped
    if services.runs_on_cpu_instead(case):
        render_badge("on the CPU", "GPU memory ran out, so this model now runs on the CPU: slower, and in float32.")
    if case.weights == RANDOM:
        name = plain(describe_model(case.model, case.weights))
        render_badge("random weights", f"{name}: the maps show the plumbing, not knowledge.")
    foreign = () if case.image.startswith("toy-") else (image_title(case),)
    limits = describe_limits(case.prompts, foreign) if case.model == catalogue.TOY else None
    if limits:
        text = f"{limits[0].upper()}{limits[1:]}. Choose a real model in the sidebar to ask about them."
        render_badge("not in the toy's world", plain(text))
    loaded = _load(case)
    _tell_shape(case)
    for remark in loaded.remarks:
        render_badge("about the model", plain(remark))
    tower = loaded.tower
    if case.size is not None and any(case.size % side for side in tower.patch_px):
        case = replace(case, size=None)
    services.trace(case)
    fitted = fit_case(
        case,
        grid=services.grid(case),
        depth=len(tower.blocks),
        heads=max(block.heads for block in tower.blocks),
        patch_px=tower.patch_px,
        kinds=tower.kinds,
    )
    if state.settle(fitted, services.grid(fitted)):
        st.rerun()
    return fitted


def _tell_shape(case: Case) -> None:
    """Says where the network or the page sees the image in another shape than its own."""
    (height, width), (rows_px, columns_px) = services.original(case).size_px, services.size_px(case)
    texts = []
    if case.fit == "stretch" and abs(width / height * rows_px / columns_px - 1) > ALIKE:
        texts.append(
            f"The image has {width} × {height} pixels, and the network sees it stretched to {columns_px} × {rows_px}, "
            "so that shapes change. *Middle cropped* and *own shape* are on Maps, behind the button of the input size."
        )
    if not NARROWEST <= width / height <= WIDEST and case.fit != "crop":
        texts.append("So long an image is drawn squeezed; patches and regions stay where they are in it.")
    if texts:
        render_badge("stretched" if len(texts) > 1 or case.fit == "stretch" else "squeezed", "\n\n".join(texts))


def _load(case: Case) -> Model:
    missing = catalogue.missing_download(case.model, case.weights)
    if missing is None:
        return services.model(case)
    under_way = is_under_way((case.model, case.weights), _download_title(case))
    if not under_way and not state.download_allowed(case.model, case.weights):
        raise catalogue.DownloadNeeded(case.model, f"They take {catalogue.tag_size(missing)}.")
    return _download(case, missing)


def _download_title(case: Case) -> str:
    return f"Downloading {plain(describe_model(case.model, case.weights))}"


def _download(case: Case, missing: TagInfo) -> NoReturn:
    """Brings the weights here, or joins who does, and draws the page anew; who stops that is offered other models."""
    title = _download_title(case)
    stop = partial(state.forbid_download, case.model, case.weights)
    try:
        watch(
            (case.model, case.weights), title, download(case.model, case.weights, missing.download_mb), stop, RELOAD_S
        )
    except Stopped:
        state.forbid_download(case.model, case.weights)
    except WeightsNotFound as error:
        state.forbid_download(case.model, case.weights)  # tried again when the visitor says so
        state.set_problem(DOWNLOAD, describe_model(case.model, case.weights), _reason(error))
        raise
    else:
        state.clear_problem(DOWNLOAD)
        state.draw_anew()
        if catalogue.missing_download(case.model, case.weights) is not None:
            raise FileNotFoundError(f"Expected {title} to put the weights into the cache, but found none there")
    st.rerun()


def _reason(error: WeightsNotFound) -> str:
    return str(error).partition(". With a copy of the weights")[0]  # the rest is for those who write Python


def _tell_missing_weights(case: Case, error: WeightsNotFound) -> None:
    st.error(f"{plain(_reason(error))}\n\n{plain(next_step(error))}")
    with st.container(horizontal=True):
        st.button(
            "Try again" if error.damaged is None else "Remove it and fetch it again",
            type="primary",
            on_click=_try_again,
            args=(case, error.damaged),
        )
        _render_other_models()


def _try_again(case: Case, damaged: Path | None) -> None:
    if damaged is not None:
        discard(damaged)
        state.draw_anew()
    state.allow_download(case.model, case.weights)


def _offer_download(case: Case, error: catalogue.DownloadNeeded) -> None:
    name = describe_model(case.model, case.weights)
    st.info(f"The weights of {plain(name)} are not on this machine. {plain(error.size)}")
    problem = state.problem(DOWNLOAD)
    if problem is not None and problem[0] == name:
        st.warning(f"The last try failed. {plain(problem[1])}")
    with st.container(horizontal=True):
        st.button(
            "Download them",
            type="primary",
            on_click=lambda: state.allow_download(case.model, case.weights),
        )
        _render_other_models()


def _render_other_models() -> None:
    with st.container(horizontal=True):
        _render_back_to_toy()
        st.button("Use random weights", on_click=lambda: state.update(weights=RANDOM))


def _render_back_to_toy() -> None:
    st.button("Back to the toy", on_click=lambda: state.update(model=catalogue.TOY, weights=""))


def _render_tools(info: PageInfo, help: str, exports: Exports) -> None:
    with st.popover("help", type="tertiary"):
        st.markdown(help)
    with st.popover("link", type="tertiary"):
        st.caption("This view. An uploaded file is found again by this address for a day after it was last seen.")
        st.code(to_link(st.context.url or "", state.view()), language=None, wrap_lines=True)
    with st.popover("python", type="tertiary", disabled=not exports.python):
        st.caption("The same numbers in a notebook.")
        st.code(exports.python, language="python")
    archive = _archive(info, exports)
    with st.popover("save", type="tertiary", disabled=not (exports.files or archive.pictures)):
        pictures = f"{len(archive.pictures)} pictures, each as PNG, SVG and PDF; " if archive.pictures else ""
        st.caption(f"One ZIP with a README: {pictures}{'; '.join(exports.files)}".rstrip("; "))
        st.download_button(
            "Save all (ZIP)",
            partial(make_zip, archive),
            f"{info.name}.zip",
            on_click="ignore",
            key="save",
            width="stretch",
        )


def _archive(info: PageInfo, exports: Exports) -> Archive:
    """What the page shows now, for the ZIP."""
    case, view = state.case(), state.view()
    parts = case_parts(case, image_title(case)) if info.examines_case else ()
    words = exports.about or " · ".join(part.text for part in parts)
    query = to_query(view).items()
    settings = {name: said for name, said in query if "." not in name or name.startswith(f"{info.settings.PAGE}.")}
    return Archive(info.name, f"{info.title}: {info.question}", words, settings, exports, shown.shown())
