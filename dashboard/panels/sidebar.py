"""The sidebar that all pages share: model, image, prompts, region."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from dashboard import catalogue, services, state
from dashboard.address import MAX_PROMPTS
from dashboard.case import FIRST_IMAGE, TEMPLATES, UPLOAD, Case, describe_region
from dashboard.fields import MAX_TEXT
from dashboard.panels.gallery import render_gallery
from dashboard.panels.page import EXPECTED
from dashboard.panels.texts import in_visitors_words, join_prompts, plain
from dashboard.regions import label_ids
from data.images import IMAGE_SUFFIXES, decode_mask, load_image
from data.samples import SAMPLES
from surgery.prompts import split_prompts

TEMPLATE_TITLES = {
    "none": "the bare prompt",
    "photo": "“a photo of a …”",
    "clip_surgery": "85 templates of CLIP Surgery",
    "imagenet": "80 ImageNet templates",
}
IMAGE_TYPES = [suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES]


def render_sidebar(case: Case) -> None:
    """Everything in the sidebar."""
    with st.sidebar:
        _render_model(case)
        _render_image(case)
        _render_prompts(case)
        _render_region(case)


def _model_labels() -> dict[str, str]:
    return {choice.model: choice.label for choice in catalogue.model_choices()}


def _render_model(case: Case) -> None:
    labels = state.fixed("models", _model_labels)
    drawn = state.drawing()
    options = list(labels) if case.model in labels else [case.model, *labels]
    st.selectbox(
        "Model",
        options,
        format_func=lambda model: labels.get(model, model),
        help="Type to search. M is millions of parameters; “here” means that weights are on this machine.",
        **state.widget(f"model {drawn}", case.model, _choose_model),
    )
    weights = state.fixed(f"weights of {case.model}", lambda: _weights_of(case.model))
    if weights:
        if case.weights not in weights:
            weights = {case.weights: case.weights or "choose"} | weights
        st.selectbox(
            "Weights",
            list(weights),
            format_func=lambda tag: weights.get(tag, tag),
            **state.widget(f"weights {drawn} {case.model}", case.weights, _choose_weights),
        )
    if case.model == catalogue.TOY:
        name, tag = catalogue.QUICK
        st.button(
            f"Try {name}, {_quick_size()}",
            type="tertiary",
            icon=":material/arrow_forward:",
            on_click=_choose_quick,
            help=f"OpenAI's weights ({tag}). Weights that are not here are downloaded at once.",
        )


def _weights_of(model: str) -> dict[str, str]:
    try:
        return catalogue.weight_choices(model)
    except ValueError:
        return {}  # an unknown name from the address; the page says so


def _quick_size() -> str:
    missing = state.fixed("quick", lambda: catalogue.missing_download(*catalogue.QUICK))
    return "weights here" if missing is None else catalogue.tag_size(missing)


def _choose_weights(case: Case, tag: str) -> Case:
    """The case with these weights; as it was where a browser sends something that was never offered."""
    return replace(case, weights=tag) if tag in _weights_of(case.model) else case


def _choose_model(case: Case, model: str) -> Case:
    """The case with this model; as it was where a browser sends something that was never offered."""
    if model not in state.fixed("models", _model_labels):
        return case
    return replace(case, model=model, weights=catalogue.default_weights(model), size=None)


def _choose_quick() -> None:
    state.allow_download(*catalogue.QUICK)
    model, weights = catalogue.QUICK
    state.update(model=model, weights=weights, size=None)


def _render_image(case: Case) -> None:
    st.markdown(":small[Image]", help="Made scenes with exact masks, two photographs, or your own file.")
    render_gallery(case.image, choose_sample)
    st.file_uploader(
        "Upload an image",
        type=IMAGE_TYPES,
        key="upload",
        on_change=lambda: _take_file("upload", _take_image),
    )
    _show_problem("upload")
    if state.own_uploads():
        st.button(
            "Delete my uploads",
            type="tertiary",
            icon=":material/delete:",
            on_click=_delete_uploads,
            help="Images and masks you brought stay on the server for a day after they were last seen, and only their "
            "addresses find them. This deletes them now.",
        )


def choose_sample(name: str) -> None:
    """Puts a sample on the table with its own region, and its own prompts unless others were typed."""
    state.clear_problem("prompts")
    case, own = state.case(), own_texts(name)
    if case.prompts not in ((), own_texts(case.image).get("prompts")):
        own["prompts"] = case.prompts
    state.update(image=name, **own, patch=None, word=None, caption="")


def own_texts(name: str) -> dict[str, object]:
    """The prompts and the region that belong to an image; none to one that is no sample."""
    if name not in SAMPLES:
        return {}
    sample = services.sample_named(name)
    return {"prompts": sample.prompts, "region": f"object:{next(iter(sample.masks))}" if sample.masks else ""}


def opening_case(given: Mapping[str, object]) -> Case:
    """What stands for all that an address does not say: the embedded model, the first scene, what belongs to each.

    Args:
        given: the fields of the case that the address names.
    """
    case = Case(**{name: given[name] for name in ("model", "image") if name in given})
    try:
        weights = catalogue.default_weights(case.model)
    except ValueError:
        weights = ""  # an unknown name; the page says so
    return replace(case, weights=weights, **own_texts(case.image))


def _take_file(key: str, take: Callable[[UploadedFile], None]) -> None:
    """Runs `take` on an uploaded file; what is wrong with it is shown below the uploader."""
    state.clear_problem(key)
    file = st.session_state[key]
    if file is None:
        return
    try:
        take(file)
    except EXPECTED as error:
        state.set_problem(key, file.name, str(error))


def _take_image(file: UploadedFile) -> None:
    image = load_image(file)
    state.remember_upload(image, file.getvalue())
    if image.sha256 == state.case().upload:  # the file that an address asked for: the view is kept
        return
    state.update(image=f"{UPLOAD}{image.sha256}", region="", patch=None, word=None, caption="")


def _delete_uploads() -> None:
    state.forget_uploads()
    if state.case().upload:
        choose_sample(FIRST_IMAGE)
    elif state.case().region.startswith("mask:"):
        state.update(region="")


def _take_mask(file: UploadedFile) -> None:
    labels = decode_mask(file)
    if not label_ids(labels):
        raise ValueError("Expected mask to mark at least one pixel, but got an empty one")
    wanted = services.original(state.case()).size_px
    if labels.shape != wanted:
        raise ValueError(
            f"Expected mask to be as large as the image, {_in_px(wanted)} pixels, but got {_in_px(labels.shape)}"
        )
    state.update(region=f"mask:{state.remember_mask(labels, file.name, file.getvalue())}")


def _in_px(size_px: tuple[int, int]) -> str:
    """(height, width) as people write it: width × height."""
    return f"{size_px[1]} × {size_px[0]}"


def _show_problem(key: str, advice: str = "Choose another file; the view stays as it was.") -> None:
    problem = state.problem(key)
    if problem is not None:
        st.error(f"{plain(in_visitors_words(problem[1]))}\n\n{advice}")


def _render_prompts(case: Case) -> None:
    problem = state.problem("prompts")
    shown = join_prompts(case.prompts) if problem is None else problem[0]
    st.text_area(
        "Prompts, separated by commas",
        height=80,
        max_chars=MAX_TEXT,
        placeholder="a red circle, grass",
        help="A prompt that has a comma itself goes in double quotes.",
        **state.widget("prompts", shown, _set_prompts),
    )
    _show_problem("prompts", "Mend the prompts above; the view stays as it was.")
    st.selectbox(
        "Prompt templates",
        TEMPLATES,
        format_func=TEMPLATE_TITLES.__getitem__,
        **state.widget("templates", case.templates, lambda case, name: replace(case, templates=name)),
    )


def _set_prompts(case: Case, text: str) -> Case:
    state.clear_problem("prompts")
    try:
        prompts = split_prompts(text) if text.strip() else ()
        if len(prompts) > MAX_PROMPTS:
            raise ValueError(f"Expected at most {MAX_PROMPTS} prompts, but got {len(prompts)}")
    except ValueError as error:
        state.set_problem("prompts", text, str(error))
        return case
    return replace(case, prompts=tuple(" ".join(prompt.split()) for prompt in prompts))


def _render_region(case: Case) -> None:
    options = region_options(case)
    st.selectbox(
        "Region that should light up",
        options,
        format_func=lambda region: describe_region(region) if region else "none",
        help="Contrast and flip AUC compare it with the rest of the image. It can also be drawn on the page Flip.",
        **state.widget("region", case.region, lambda case, region: replace(case, region=region)),
    )
    with st.expander("Upload a mask"):
        st.file_uploader(
            "Mask (PNG: white on black, or ids of objects)",
            type=["png"],
            key="mask",
            on_change=lambda: _take_file("mask", _take_mask),
        )
        _show_problem("mask")


def region_options(case: Case) -> list[str]:
    """The regions that can be chosen: none, the sample's objects, the ids of an uploaded mask, what was drawn."""
    try:
        sample = services.sample(case)
    except ValueError:
        sample = None  # an unknown name from the address; the page says so
    options = ["", *(f"object:{phrase}" for phrase in (sample.masks if sample else ()))]
    kind, _, value = case.region.partition(":")
    labels = state.mask(value.partition("#")[0]) if kind == "mask" else None
    if labels is not None:
        whole = f"mask:{value.partition('#')[0]}"
        ids = label_ids(labels)
        options += [whole, *(f"{whole}#{i}" for i in ids if len(ids) > 1)]
    return options if case.region in options else [*options, case.region]
