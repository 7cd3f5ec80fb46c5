"""What the Words page shows as plain arrays: every measure of every word, for the image and for every patch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from analysis.agreement import RankAgreement, rank_agreement
from analysis.decomposition import Blame, decompose
from analysis.text_tokens import token_tower
from analysis.word_measures import STEPS, WORD_MEASURES, WordRelevance, word_relevance
from analysis.word_targets import WordTarget, read_target
from dashboard import catalogue, services
from dashboard.case import Case, method_of
from dashboard.jobs import Job, preload
from dashboard.keys import Maps
from dashboard.pages.words.settings import WordsSettings
from dashboard.panels.work import work_through
from surgery import Method, similarity
from surgery.dense import fit_method
from surgery.targets import parse_target
from surgery.words import prompt_cut

MAX_RESULTS = 96


@dataclass(frozen=True, slots=True)
class WordsKey:
    """Results of the Words page in the caches."""

    trace: services.TraceKey
    method: Method
    caption: str
    measure: str = ""
    baseline: str = ""
    patches: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Board:
    """All measures of one case.

    Attributes:
        target: the captions and their u units; positions in it are `Case.word`.
        found: measure -> its relevances, for those that have any.
        missing: measure -> why it has none.
        agreement: of the words' order under all measures, for the image or the chosen patch.
        warnings: what was said on the way, such as that a caption was cut and where.
    """

    target: WordTarget
    found: Mapping[str, WordRelevance]
    missing: Mapping[str, str]
    agreement: RankAgreement | None
    warnings: tuple[str, ...] = ()


def caption_of(case: Case) -> str:
    """The caption of the case: what was typed, else the sample's own, else the prompts; "" where there is none.

    The sample's own counts as long as no others than its prompts are typed. Of prompts that are sums or differences,
    the first stands alone.
    """
    sample = services.sample(case)
    if case.caption:
        return case.caption
    if sample is not None and sample.caption and case.prompts in (sample.prompts, ()):
        return sample.caption
    return next((text for text in case.prompts if len(_parts(text)) > 1), " and ".join(case.prompts))


def _parts(text: str) -> tuple:
    try:
        return parse_target(text)
    except ValueError:
        return ()


def words_key(case: Case, measure: str = "", baseline: str = "", patches: bool = True) -> WordsKey:
    """What the relevances of a measure depend on."""
    method = method_of(case, case.method_a)
    fitted = fit_method(services.model(case).tower, method)
    trace = services.trace_key(case, method.position_interpolation)
    return WordsKey(trace, fitted, caption_of(case), measure, baseline if measure == "gradients" else "", patches)


def target_of(case: Case) -> WordTarget:
    """The caption of the case as the model reads it.

    Raises:
        ValueError: the model has another tokenizer, the caption holds no words, or its texts cancel.
    """
    return _target(words_key(case), case)


@services.cached(max_entries=MAX_RESULTS)
def _target(key: WordsKey, _case: Case) -> WordTarget:
    with services.turn(_case):
        return read_target(services.model(_case), key.caption)


def target_map(case: Case) -> Maps:
    """Cosine of every patch with the whole target, (gh, gw, 1)."""
    return _target_map(words_key(case), case)


@services.cached(max_entries=MAX_RESULTS)
def _target_map(key: WordsKey, _case: Case) -> Maps:
    features, text = services.features(_case, method_of(_case, _case.method_a)), target_of(_case).feature[None]
    found = similarity(features, text)
    return Maps(found.patches[0].float().cpu().numpy(), found.cls[0].float().cpu().numpy(), found.kind, found.method)


def blame_of(case: Case) -> Blame:
    """What every block's attention and MLP writes of the cosine with the target, a term a patch."""
    return _blame(words_key(case), case)


@services.cached(max_entries=16)
def _blame(key: WordsKey, _case: Case) -> Blame:
    method = method_of(_case, _case.method_a)
    trace, text = services.trace(_case, method.position_interpolation), target_of(_case).feature[None]
    with services.turn(_case):
        return decompose(trace, text, key.method, heads=False).merged()


def token_problem(case: Case) -> str:
    """Why the tokens of this model have no features of their own; "" where they have."""
    try:
        token_tower(services.model(case))
    except ValueError as error:
        return str(error)
    return ""


def board(case: Case, own: WordsSettings) -> Board:
    """All measures; slow ones as jobs that can be stopped.

    Raises:
        ValueError: as `target_of`.
    """
    target, problem = target_of(case), token_problem(case)
    found, missing = {}, {}
    for name in own.measures:
        kind = WORD_MEASURES[name]
        if problem and kind.need_tokens:
            missing[name] = problem
            continue
        patches = not kind.slow or own.every or case.model == catalogue.TOY
        key = words_key(case, name, own.baseline, patches)
        one = work_through(key, f"Words: {kind.title}", relevance_work(case, target, key))
        if one is None:
            missing[name] = "stopped"
        else:
            found[name] = one
    loaded = services.model(case)
    cuts = (prompt_cut(loaded, term.caption.text) for term in target.terms)
    said = tuple(str(cut) for cut in cuts if cut is not None)
    return Board(target, found, missing, agreement_of(case, target, found), said)


def relevance_work(case: Case, target: WordTarget, key: WordsKey) -> Callable[[Job[WordRelevance]], WordRelevance]:
    """Work: one measure of the words of a target."""
    loaded, turn, picture = services.model(case), services.turn(case), services.original(case)
    features = services.features(case, method_of(case, case.method_a))
    rows, columns = features.patches.shape[1:3]
    steps = len(target.terms) * (STEPS if key.measure == "gradients" else 1 + rows * columns * key.patches)

    def work(job: Job[WordRelevance]) -> WordRelevance:
        if key.measure == "gradients" and not key.patches:
            preload("captum.attr")
        with turn:
            pixels = loaded.preprocess([picture.to_pil()], key.trace.size, fit=key.trace.fit)
            return word_relevance(
                loaded,
                features,
                target,
                key.measure,
                pixels=pixels,
                patches=key.patches,
                baseline=key.baseline or "padding",
                on_step=lambda done: job.report(min(1.0, done / steps), f"{done} of {steps}"),
            )

    return work


def agreement_of(case: Case, target: WordTarget, found: Mapping[str, WordRelevance]) -> RankAgreement | None:
    """Rank correlation of the measures over the words; None for fewer than two words or measures. Pure."""
    words = list(target.word_units)
    values = {name: answers(case, one) for name, one in found.items()}
    values = {name: row[words] for name, row in values.items() if row is not None}
    return rank_agreement(values) if len(words) > 1 and len(values) > 1 else None


def answers(case: Case, found: WordRelevance) -> np.ndarray | None:
    """(u,) relevance to the chosen patch, or to the whole image where none is chosen; None where not computed. Pure."""
    if case.patch is None:
        return found.image
    return None if found.patches is None else found.patches[case.patch]


def chosen_unit(case: Case, shown: Board) -> int:
    """The unit whose maps are shown: the chosen one, else the most relevant under the first measure. Pure."""
    if case.word is not None and case.word < len(shown.target.units):
        return case.word
    for one in shown.found.values():
        values = answers(case, one)
        if values is not None and np.isfinite(values).any():
            return int(np.nanargmax(values))
    return shown.target.word_units[0]


def blame_terms(case: Case, blame: Blame, region: object) -> np.ndarray:
    """(k,) terms of the chosen patch, else of the region's contrast, else of the mean over all patches. Pure."""
    if case.patch is not None:
        return blame.terms[0, :, case.patch[0], case.patch[1], 0]
    if region is not None:
        return blame.contrast(region)[0, :, 0]
    return blame.terms[0, ..., 0].mean(axis=(1, 2))
