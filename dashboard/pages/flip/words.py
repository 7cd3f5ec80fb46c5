"""In words: what the chosen component writes over many images, and what a channel of the residual stream writes."""

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st
import torch
from torch import Tensor

from analysis.channels import ChannelTerms, channel_direction, channel_terms
from analysis.decomposition import Component
from analysis.flips import FlipReport
from analysis.numerals import number, signed
from analysis.text_span import HeadWords, describe_effects, direct_effects, iterate_effects, nearest_texts
from dashboard import catalogue, services, state
from dashboard.case import Case, examined_prompt
from dashboard.figures.flip import describe_component
from dashboard.figures.paths import plot_texts
from dashboard.jobs import Job
from dashboard.keys import ModelKey
from dashboard.pages.flip import results
from dashboard.pages.flip.settings import SAMPLES, FlipSettings
from dashboard.panels.chart import render_figure
from dashboard.panels.texts import plain
from dashboard.panels.work import work_through
from dashboard.services import TextKey
from data.toy import make_scenes
from data.word_lists import read_word_list

SCENES, SEED, BATCH = 100, 30_000, 10
"""Made scenes that a component is described over, none of which is among the samples."""
WORDS_AT_ONCE = 64
SHOWN = 7
SAMPLE_TITLES = {"scenes": f"{SCENES} made scenes", "patches": "this image"}


def render_words(case: Case, own: FlipSettings, report: FlipReport, chosen: Component | None) -> None:
    """The component on the left, the channel on the right."""
    features = word_features(case)
    if features is None:
        return
    left, right = st.columns(2, gap="medium")
    with left, st.container(key="window-under-head"):
        _render_component(case, own, report, chosen, features)
    with right, st.container(key="window-under-channel"):
        _render_channel(case, own, report, features)


def list_name(case: Case) -> str:
    """The word list for the case's model. Pure."""
    return "toy" if case.model == catalogue.TOY else "general"


def word_features(case: Case) -> Tensor | None:
    """Text features of the word list, encoded portion by portion; None where that was stopped."""
    words = read_word_list(list_name(case))
    key = services.text_key(case, words)
    return work_through(key, "Reading the word list", _encoding(case, words))


def _encoding(case: Case, words: tuple[str, ...]) -> Callable[[Job[Tensor]], Tensor]:
    model, lock, templates = services.model(case), services.turn(case), case.templates

    def work(job: Job[Tensor]) -> Tensor:
        found = []
        for start in range(0, len(words), WORDS_AT_ONCE):
            job.report(start / len(words), f"{start} of {len(words)} words")
            with lock:
                found.append(model.encode_text(list(words[start : start + WORDS_AT_ONCE]), templates=templates))
        return torch.cat(found)

    return work


@dataclass(frozen=True, slots=True)
class EffectsKey:
    """What all components of a model write over the made scenes."""

    model: ModelKey
    size: int | None


def scene_effects(case: Case) -> Callable[[Job[dict[Component, Tensor]]], dict[Component, Tensor]]:
    """Work: the direct effects of every head, attention output and MLP on the image feature of made scenes."""
    model, lock, size = services.model(case), services.turn(case), case.size

    def work(job: Job[dict[Component, Tensor]]) -> dict[Component, Tensor]:
        found: dict[Component, list[Tensor]] = {}
        scenes = make_scenes(SCENES, seed=SEED)
        for start in range(0, SCENES, BATCH):
            job.report(start / SCENES, f"{start} of {SCENES} scenes")
            with lock:
                trace = model.trace(model.preprocess([s.image for s in scenes[start : start + BATCH]], size))
                for part, effect in iterate_effects(trace):
                    found.setdefault(part, []).append(effect[:, 0].cpu())
        return {part: torch.cat(effects) for part, effects in found.items()}

    return work


def samples_of(case: Case, own: FlipSettings) -> str:
    """The samples of the settings; patches where the image feature is not read from CLS, as the source has it."""
    return own.samples if services.model(case).tower.pooling == "token" else "patches"


def component_words(case: Case, own: FlipSettings, part: Component, features: Tensor) -> HeadWords | None:
    """The component in words over the samples of the settings; None where the passes were stopped."""
    words, name = read_word_list(list_name(case)), services.model(case).name
    samples = samples_of(case, own)
    if samples == "patches":
        with services.turn(case):
            effects = direct_effects(services.trace(case), part, "patches")[0]
    else:
        key = EffectsKey(services.model_key(case), case.size)
        found = work_through(key, "Looking at made scenes", scene_effects(case))
        if found is None:
            return None
        effects = found[part]
    tokens = "patches" if samples == "patches" else "image"
    return describe_effects(effects, part, features, words, tokens=tokens, model=name, count=SHOWN)


def _render_component(
    case: Case, own: FlipSettings, report: FlipReport, chosen: Component | None, features: Tensor
) -> None:
    st.segmented_control(
        "Samples",
        SAMPLES,
        format_func=SAMPLE_TITLES.__getitem__,
        label_visibility="collapsed",
        required=True,
        disabled=services.model(case).tower.pooling != "token",
        **state.setting(own, "samples", samples_of(case, own)),
    )
    part = results.described_part(report, chosen)
    if part is None:
        st.info("This model has no heads over all tokens.")
        return
    found = component_words(case, own, part, features)
    if found is None:
        return
    name = describe_component(part)
    st.caption(
        plain(
            f"These {len(found.spanned)} texts hold {100 * found.explained:.0f} % of what varies in what {name} "
            f"writes over {found.samples} {'patches' if found.tokens == 'patches' else 'images'} (TextSpan)."
        )
    )
    span = plot_texts(found.spanned, f"{name[0].upper()}{name[1:]} in words", "share of the variance")
    render_figure(span, key="flip span", stretch=True)
    mean = plot_texts(found.mean[:5], "What it writes alike everywhere", "cosine with the text")
    render_figure(mean, key="flip mean words", stretch=True)


@services.cached(max_entries=32)
def _channels(key: services.TraceKey, texts: TextKey, region: str, _case: Case) -> ChannelTerms:
    trace, text, found = services.trace(_case), services.text(_case, texts.texts), services.region(_case)
    with services.turn(_case):
        return channel_terms(trace, text, found)


def _render_channel(case: Case, own: FlipSettings, report: FlipReport, features: Tensor) -> None:
    texts = services.text_key(case, (examined_prompt(case),))
    terms = _channels(services.trace_key(case), texts, case.region, case)
    last = len(terms.ratio) - 1
    channel = terms.massive if own.channel is None or own.channel > last else own.channel
    worst = int(terms.terms.argmin())
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.number_input(
            f"Channel of the residual stream, 0 to {last}",
            0,
            last,
            help="The first one shown is that of largest magnitude over the patches.",
            width=220,
            **state.setting(own, "channel", channel),
        )
        for label, other in (("largest", terms.massive), ("worst", worst)):
            st.button(f"{label}: {other}", disabled=other == channel, on_click=_choose, args=(other,))
    share = f"{signed(float(terms.terms[channel]))} of {signed(report.contrast['clip'])}"
    st.caption(
        plain(
            f"Over the patches its magnitude is {number(terms.ratio[channel])} times the median channel's; it adds "
            f"{share} to the contrast. Texts nearest to what a positive value writes (right) and a negative one (left):"
        )
    )
    words, direction = read_word_list(list_name(case)), channel_direction(services.trace(case), channel)
    near, opposite = (nearest_texts(sign * direction, features, words, SHOWN) for sign in (1, -1))
    figure = plot_texts(near, f"Channel {channel} in words", "cosine with the text", opposite)
    render_figure(figure, key="flip channel words", stretch=True)


def _choose(channel: int) -> None:
    state.adjust(FlipSettings, channel=channel)
