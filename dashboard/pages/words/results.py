"""What the Words page shows as plain arrays: one value per unit of the caption, for the image and for every patch."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analysis.text_gradients import TokenGradients, integrated_gradients
from analysis.text_tokens import (
    Caption,
    TokenRelevance,
    WordAblation,
    compute_token_relevance,
    leave_one_word_out,
    token_tower,
)
from dashboard import services
from dashboard.case import Case, method_of
from dashboard.jobs import Job, preload
from surgery import Method
from surgery.dense import fit_method
from surgery.words import prompt_cut

MAX_RESULTS = 64
STEPS = 32
"""Points of the integral."""
START, END = "[start]", "[end]"


@dataclass(frozen=True, slots=True, eq=False)
class WordValues:
    """Relevance of the units of a caption: the start token, its words, the end token.

    Attributes:
        caption: the caption as the model reads it.
        units: names of the u units; positions in it are `Case.word`.
        image: (u,) relevance to the whole image; NaN for a unit that this measure gives no value.
        patches: (gh, gw, u) relevance to every patch.
        measure: one of `dashboard.pages.words.settings.MEASURES`.
        warnings: what was said on the way, such as that the caption was cut and where.
    """

    caption: Caption
    units: tuple[str, ...]
    image: np.ndarray
    patches: np.ndarray
    measure: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WordsKey:
    """Results of the Words page in the caches."""

    trace: services.TraceKey
    method: Method
    caption: str


def caption_of(case: Case) -> str:
    """The caption of the case: what was typed, else the sample's own, else the prompts; "" where there is none."""
    sample = services.sample(case)
    return case.caption or (sample.caption if sample else "") or " and ".join(case.prompts)


def word_values(case: Case, measure: str) -> WordValues:
    """Relevance of the caption's units under one measure.

    Raises:
        ValueError: the model cannot do this, or the caption holds no words.
    """
    return _word_values(words_key(case), measure, case)


def words_key(case: Case) -> WordsKey:
    """What the gradients depend on, and all else on the page but for the measure."""
    method = method_of(case, case.method_a)
    fitted = fit_method(services.model(case).tower, method)
    return WordsKey(services.trace_key(case, method.position_interpolation), fitted, caption_of(case))


def gradients_of(case: Case) -> Callable[[Job[TokenGradients]], TokenGradients]:
    """Work: integrated gradients of the cosine with the whole image, for a model whose tokens have features."""
    loaded, lock = services.model(case), services.turn(case)
    features, caption = services.features(case, method_of(case, case.method_a)), caption_of(case)

    def work(job: Job[TokenGradients]) -> TokenGradients:
        preload("captum.attr")
        with lock:
            return integrated_gradients(
                loaded,
                features,
                caption,
                steps=STEPS,
                on_step=lambda done: job.report(done / STEPS, f"{done} of {STEPS} steps"),
            )

    return work


def token_problem(case: Case) -> str:
    """Why the tokens of this model have no features of their own; "" where they have."""
    try:
        token_tower(services.model(case))
    except ValueError as error:
        return str(error)
    return ""


@services.cached(max_entries=MAX_RESULTS)
def _word_values(key: WordsKey, measure: str, _case: Case) -> WordValues:
    loaded, features = services.model(_case), services.features(_case, method_of(_case, _case.method_a))
    with services.turn(_case):
        if measure == "left_out":
            found = values_left_out(leave_one_word_out(loaded, features, key.caption))
        else:
            relevance = compute_token_relevance(loaded, features, key.caption, remove_redundancy=measure == "tokens")
            found = values_of_tokens(relevance, measure)
    cut = prompt_cut(loaded, key.caption)
    said = () if cut is None else (str(cut),)
    return WordValues(found.caption, found.units, found.image, found.patches, measure, said)


def unit_names(caption: Caption) -> tuple[str, ...]:
    """The units of a caption: start token, words, end token."""
    return (START, *(word.text for word in caption.words), END)


def values_left_out(found: WordAblation) -> WordValues:
    """What the cosine of the first image loses with each word; start and end token cannot be left out. Pure."""
    image, patches = (_without_specials(values[0]) for values in (found.cls_drop, found.patch_drop))
    return WordValues(found.caption, unit_names(found.caption), image, patches, "left_out")


def values_of_tokens(found: TokenRelevance, measure: str) -> WordValues:
    """Relevance of the tokens to the first image, averaged over the tokens of each word. Pure."""

    def of_units(values: np.ndarray) -> np.ndarray:  # (..., k) -> (..., u)
        return np.concatenate([values[..., :1], found.caption.per_word(values), values[..., -1:]], axis=-1)

    units = unit_names(found.caption)
    return WordValues(found.caption, units, of_units(found.cls[0]), of_units(found.patches[0]), measure)


def _without_specials(values: np.ndarray) -> np.ndarray:
    """(..., w) -> (..., 1 + w + 1), NaN for start and end token."""
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(1, 1)], constant_values=np.nan)


def chosen_unit(case: Case, values: WordValues) -> int:
    """The unit whose map is shown: the chosen one where it has a map, else the most relevant to patch or image."""
    answers = unit_answers(case, values)
    word = case.word
    if word is not None and word < len(values.units) and np.isfinite(values.image[word]):
        return word
    return int(np.nanargmax(answers))


def unit_answers(case: Case, values: WordValues) -> np.ndarray:
    """(u,) relevance to the chosen patch, or to the whole image where none is chosen. Pure."""
    return values.image if case.patch is None else values.patches[case.patch]
