"""What pages ask for: model, image, trace, text features, maps, region of a case. All caches and locks are here.

    model = services.model(case)             # surgery.Model, shared by all sessions
    trace = services.trace(case)             # recorded once per (model, image, size, interpolation)
    text = services.text(case)               # (t, d)
    grid = services.maps(case, method)       # numpy, (gh, gw, t) and the CLS row
    region = services.region(case)           # analysis.Region or None

A page adds its own cached result with the same keys, so that a slider never runs the network again:

    @services.cached(max_entries=16)
    def norms(key: TraceKey, _case: Case) -> Norms:
        return compute_norms(services.trace(_case))

    norms(services.trace_key(case), case)

Functions raise ValueError, OSError or `MissingImage`; `panels.page` shows them. No Streamlit element is touched here.
"""

import threading
from dataclasses import dataclass

import numpy as np
import torch
from streamlit.runtime.scriptrunner import get_script_run_ctx
from torch import Tensor

from analysis.regions import Region
from dashboard import catalogue, jobs, state, studies
from dashboard.caches import cached
from dashboard.case import RANDOM, STUDY, Case, method_of
from dashboard.keys import Maps, ModelKey, TextKey, TraceKey
from dashboard.regions import IGNORE, unknown_pixels
from dashboard.regions import region_mask as draw_region
from dashboard.turns import HEAVY, LIGHT, Turn
from data.geometry import Framing
from data.images import LoadedImage
from data.samples import SAMPLES, Sample, load_sample
from surgery import Method, Model, Trace, class_probabilities, feature_surgery, load_model, similarity
from surgery.dense import DenseFeatures, Walk, dense_features_of, fit_method
from surgery.memory import check_fits
from surgery.trace import OnBlock
from surgery.words import prompt_cut

MAX_MODELS = 3
MAX_TRACES = 6
MAX_TRACE_BYTES = 3_000_000_000
SMALL_PATCHES = 640
"""A pass over so many patches is small whatever the model's own size is: 24 x 24 of a ViT-L/14 at 336 px, and some."""
MAX_FEATURES = 64
MAX_MAPS = 256


class MissingImage(LookupError):
    """The case names an uploaded image that this session does not have; `sha256` says which."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"Expected the image with SHA-256 {sha256}, but it was not uploaded in this session")
        self.sha256 = sha256


_on_cpu: set[tuple[str, str]] = set()
"""(name, weights) of models that ran out of GPU memory in this process and stay on the CPU from then on."""


_loading = threading.Lock()
"""Held while a model is loaded. PyTorch initialises every model from one generator, which belongs to all threads: drawn
alone and from a seed, the random weights of an architecture are the same in every session."""


# ---- models


def model_key(case: Case) -> ModelKey:
    """The key of the case's model on this machine."""
    device = "cpu" if (case.model, case.weights) in _on_cpu else "auto"
    return ModelKey(case.model, case.weights, device, "auto")


def model(case: Case) -> Model:
    """The case's model; the first call loads it.

    Raises:
        ValueError, OSError: as `surgery.load_model`.
    """
    return _resident(model_key(case))


def turn(case: Case) -> Turn:
    """Held while something is computed for the case; the functions here take it themselves.

    Models are never changed, so two may run at once: one visitor's work at the model's own size or below, and one's
    larger work, see `dashboard.turns`. Ask for other results before taking it, since they take their own.
    """
    rows, columns = grid(case)
    own = model(case).tower.native_grid
    small = rows * columns <= max(own[0] * own[1], SMALL_PATCHES)
    return Turn(LIGHT if small else HEAVY, visitor())


def visitor() -> str:
    """Who this session is, for queues; "" outside of any."""
    context = get_script_run_ctx(suppress_warning=True)
    return "" if context is None else context.session_id


@cached(max_entries=MAX_MODELS)
def _resident(key: ModelKey) -> Model:
    name, pretrained = catalogue.source_of(key.name, key.weights)
    jobs.report(words=f"loading {key.name}")
    with _loading, torch.random.fork_rng(devices=[]):  # open_clip initialises on the CPU
        if key.weights == RANDOM:
            torch.default_generator.manual_seed(0)
        return load_model(name, pretrained, device=key.device, precision=key.precision)


def move_to_cpu(case: Case) -> None:
    """After GPU memory ran out: this model runs on the CPU from now on, and what it holds on the GPU is let go."""
    _on_cpu.add((case.model, case.weights))
    for cache in (_resident, _trace, _features, _text):
        cache.clear()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def runs_on_cpu_instead(case: Case) -> bool:
    """Whether the case's model was moved to the CPU because GPU memory ran out."""
    return (case.model, case.weights) in _on_cpu


# ---- images and regions


@cached(max_entries=len(SAMPLES) + 32)
def sample_named(name: str) -> Sample:
    """A sample image, or a picture of a study, with its prompts and masks.

    Raises:
        ValueError, OSError: there is none of this name, or its file cannot be read.
    """
    return studies.load_picture(name) if name.startswith(STUDY) else load_sample(name)


def sample(case: Case) -> Sample | None:
    """The case's sample; None for an uploaded image."""
    return None if case.upload else sample_named(case.image)


def image(case: Case) -> LoadedImage:
    """The case's image as the network sees it: cut or filled up where the case says so, at its own resolution.

    It lies stretched over the grid of patches, whatever the fit. Raises as `original`.
    """
    whole = original(case)
    return whole if case.fit == "stretch" else _framed(whole.sha256, framing(case), model(case).fill_rgb, whole)


@cached(max_entries=16)
def _framed(sha256: str, framing: Framing, fill_rgb: tuple[int, int, int], _whole: LoadedImage) -> LoadedImage:
    return _whole.framed(framing, fill_rgb)


def framing(case: Case) -> Framing:
    """Where the case's image lies on the model's input."""
    return model(case).framing(original(case).size_px, case.size, case.fit)


def original(case: Case) -> LoadedImage:
    """The case's image, all of it.

    Raises:
        MissingImage: an uploaded image that this session does not have.
        ValueError: no sample of this name.
    """
    if case.upload is None:
        return sample_named(case.image).image
    found = state.upload(case.upload)
    if found is None:
        raise MissingImage(case.upload)
    return found


def region_mask(case: Case) -> np.ndarray | None:
    """The case's region as bool (H, W) in pixels of the image or of the uploaded mask; None for no region.

    Raises:
        ValueError: a region that the image does not have.
    """
    pixels = _region_of_original(case)
    return pixels if pixels is None or case.fit == "stretch" else framing(case).apply(pixels, False)


def _region_of_original(case: Case) -> np.ndarray | None:
    here = sample(case)
    return draw_region(case.region, original(case).size_px, {} if here is None else here.masks, state.mask)


def region(case: Case) -> Region | None:
    """The case's region on its grid of patches; None for no region.

    Raises:
        ValueError: a region that the image does not have, or that holds no patch, or all; a mask of another size.
    """
    pixels, unknown = _region_of_original(case), unknown_pixels(case.region, state.mask)
    if pixels is None:
        return None
    if unknown is not None:
        pixels = np.where(unknown, np.uint8(IGNORE), pixels.astype(np.uint8))
    return Region.from_mask(pixels, grid(case), IGNORE, original(case).size_px, framing=framing(case))


# ---- traces, features, maps


def size_px(case: Case) -> tuple[int, int]:
    """Height and width of the model's input in this case."""
    if case.fit != "stretch":
        return framing(case).input_px
    return model(case).native_size if case.size is None else (case.size, case.size)


def grid(case: Case) -> tuple[int, int]:
    """Rows and columns of patches in this case.

    Raises:
        ValueError: the size is not a multiple of the patch.
    """
    return model(case).tower.grid_for(size_px(case))


def trace_key(case: Case, interpolation: str = "bicubic") -> TraceKey:
    """The key of a trace; at the native grid all interpolations are the same pass."""
    loaded = model(case)
    if loaded.tower.grid_for(size_px(case)) == tuple(loaded.tower.native_grid):
        interpolation = "bicubic"
    size = None if size_px(case) == tuple(loaded.native_size) else case.size
    return TraceKey(model_key(case), original(case).sha256, size, interpolation, case.fit)


def trace(case: Case, interpolation: str = "bicubic") -> Trace:
    """The recorded pass of the case's image, all blocks kept."""
    return _trace(trace_key(case, interpolation), case)


@cached(max_entries=MAX_TRACES, weigh=lambda trace: trace.nbytes, max_bytes=lambda: MAX_TRACE_BYTES)
def _trace(key: TraceKey, _case: Case) -> Trace:
    loaded, picture = model(_case), original(_case)
    check_fits(loaded, size_px(_case))
    with turn(_case):
        pixels = loaded.preprocess([picture.to_pil()], size=_case.size, fit=_case.fit)
        words = f"{key.model.name} at {size_px(_case)[0]} px"
        return loaded.trace(pixels, position_interpolation=key.interpolation, on_block=_telling(words))


def _telling(words: str) -> OnBlock:
    """Tells the job of this thread how far a pass is, which ends there once the job is to end."""
    return lambda index, depth: jobs.report(index / depth, f"{words}: block {index + 1} of {depth}")


def features(case: Case, method: Method) -> DenseFeatures:
    """Dense features of one method, from the trace with the method's own interpolation."""
    fitted = fit_method(model(case).tower, method)
    return _features(trace_key(case, method.position_interpolation), fitted, case)


@cached(max_entries=MAX_FEATURES)
def _features(key: TraceKey, method: Method, _case: Case) -> DenseFeatures:
    found = trace(_case, method.position_interpolation)
    with turn(_case):
        return dense_features_of(Walk(found, _telling("walking the last blocks again")), method)


def text_key(case: Case, texts: tuple[str, ...] | None = None) -> TextKey:
    """The key of text features; `texts` instead of the case's prompts."""
    return TextKey(model_key(case), case.prompts if texts is None else texts, case.templates)


def text(case: Case, texts: tuple[str, ...] | None = None) -> Tensor:
    """Unit text features (t, d) of the case's prompts, or of `texts`.

    Raises:
        ValueError: no prompt at all.
    """
    return _checked_text(case, texts).features


def text_warnings(case: Case, texts: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """What was said when the texts were encoded, such as that a prompt was cut and where."""
    return _checked_text(case, texts).warnings


@dataclass(frozen=True, slots=True)
class _Text:
    features: Tensor
    warnings: tuple[str, ...]


def _checked_text(case: Case, texts: tuple[str, ...] | None) -> _Text:
    key = text_key(case, texts)
    if not key.texts:
        raise ValueError("Expected prompts to hold at least one text, but got none")
    return _text(key, case)


@cached(max_entries=MAX_FEATURES)
def _text(key: TextKey, _case: Case) -> _Text:
    loaded = model(_case)
    with Turn(LIGHT, visitor()):
        features = loaded.encode_text(list(key.texts), templates=key.templates)
    cuts = (prompt_cut(loaded, text, key.templates) for text in dict.fromkeys(key.texts))
    return _Text(features, tuple(str(cut) for cut in cuts if cut is not None))


def maps(case: Case, method: str | Method, surgery: bool | None = None) -> Maps:
    """Similarity maps of the case's prompts.

    Args:
        case: any case.
        method: a name (also "custom") or a method.
        surgery: whether to apply feature surgery; None for what the case says.
    """
    chosen = method_of(case, method) if isinstance(method, str) else method
    wanted = case.feature_surgery if surgery is None else surgery
    fitted = fit_method(model(case).tower, chosen)
    return _maps(trace_key(case, chosen.position_interpolation), fitted, text_key(case), wanted, case)


@cached(max_entries=MAX_MAPS)
def _maps(key: TraceKey, method: Method, texts: TextKey, surgery: bool, _case: Case) -> Maps:
    return read_maps(_case, features(_case, method), surgery)


def read_maps(case: Case, found: DenseFeatures, surgery: bool) -> Maps:
    """The maps of the case's prompts from any features of its image."""
    unit_texts, loaded = text(case), model(case)
    with turn(case):
        alone = surgery and len(unit_texts) == 1
        empty = loaded.encode_text([""], templates=case.templates) if alone else None
        result = feature_surgery(found, unit_texts, empty) if surgery else similarity(found, unit_texts)
    patches, cls = (values[0].float().cpu().numpy() for values in (result.patches, result.cls))
    return Maps(patches, cls, result.kind, result.method)


def probabilities(case: Case) -> np.ndarray:
    """Zero-shot probabilities (t,) of the prompts: softmax, or each on its own for a SigLIP."""
    loaded = model(case)
    cosines = torch.from_numpy(maps(case, "clip", surgery=False).cls)[None]
    return class_probabilities(cosines, loaded.logit_scale, loaded.logit_bias)[0].numpy()
