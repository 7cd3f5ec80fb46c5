"""From the map of a prompt, or from a visitor's own points and box, to masks of objects; cached."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analysis.masks import (
    Box,
    MaskCandidates,
    Segmenter,
    complete_points,
    mask_iou,
    masks_of_map,
    random_walker_masks,
)
from analysis.segment_anything import load_segment_anything
from dashboard import jobs, services, state
from dashboard.case import Case, examinable_prompts, examined_prompt, method_of
from dashboard.download import progress
from dashboard.jobs import Job
from dashboard.keys import TextKey, TraceKey
from dashboard.pages.maps.settings import WALKER, MapsSettings, Point
from dashboard.regions import unknown_pixels
from surgery import Method, PromptPoints
from surgery.dense import fit_method


@dataclass(frozen=True, slots=True)
class MaskKey:
    """What masks depend on."""

    trace: TraceKey
    method: Method
    texts: TextKey
    prompt: str
    cut: float
    floor: float | None
    segmenter: str
    points: tuple[Point, ...]
    box: Box | None


def mask_prompt(case: Case, own: MapsSettings) -> str:
    """The text whose map gives the points."""
    return own.mask_prompt if own.mask_prompt in case.prompts else _first(case)


def _first(case: Case) -> str:
    wanted = examined_prompt(case) if examinable_prompts(case) else ""
    return wanted if wanted in case.prompts else case.prompts[0]


def mask_map(case: Case, own: MapsSettings) -> np.ndarray:
    """(gh, gw) map of method A after feature surgery."""
    found = services.maps(case, case.method_a, surgery=True)
    return found.patches[:, :, case.prompts.index(mask_prompt(case, own))]


def mask_key(case: Case, own: MapsSettings) -> MaskKey:
    """The key of the masks that the page shows; the histogram's line cuts the map before its range is stretched."""
    method = method_of(case, case.method_a)
    trace = services.trace_key(case, method.position_interpolation)
    fitted, prompt = fit_method(services.model(case).tower, method), mask_prompt(case, own)
    drawn = own.mask_points, own.mask_box
    return MaskKey(trace, fitted, services.text_key(case), prompt, own.mask_cut, own.threshold, own.mask_with, *drawn)


def mask_work(case: Case, own: MapsSettings) -> Callable[[Job[list[MaskCandidates]]], list[MaskCandidates]]:
    """Work: candidates of every object."""
    rgb, map_, turn = services.image(case).rgb, mask_map(case, own), services.turn(case)
    segmenter = None if own.mask_with == WALKER else segment_anything(own.mask_with, str(services.model(case).device))

    def work(job: Job[list[MaskCandidates]]) -> list[MaskCandidates]:
        with turn:
            job.report(0.0, "random walker" if segmenter is None else own.mask_with)
            if own.mask_points or own.mask_box:
                return [_drawn(rgb, map_, own, segmenter)]
            return masks_of_map(rgb, map_, own.mask_cut, floor=own.threshold, segmenter=segmenter, boxes=True)

    return work


def _drawn(rgb: np.ndarray, map_: np.ndarray, own: MapsSettings, segmenter: Segmenter | None) -> MaskCandidates:
    """The object of the visitor's own points and box; the walker takes what they leave open from the map."""
    rows = np.array(own.mask_points, dtype=np.int64).reshape(-1, 3)
    points = PromptPoints(rows[:, :2], rows[:, 2]) if len(rows) else None
    if segmenter is not None:
        return segmenter.masks(rgb, points, own.mask_box)
    if points is not None and own.mask_box is None:
        points = complete_points(points, map_, rgb.shape[:2], own.mask_cut, own.threshold)
    return random_walker_masks(rgb, points, own.mask_box)


@services.cached(max_entries=2)
def segment_anything(name: str, device: str) -> Segmenter:
    """A Segment Anything model that is here already.

    Raises:
        ModuleNotFoundError, FileNotFoundError, ValueError: as `load_segment_anything`.
    """
    jobs.report(words=f"loading {name}")
    return load_segment_anything(name, device)


def download_work(name: str, size_mb: int | None) -> Callable[[Job[None]], None]:
    """Work: brings a Segment Anything model into the cache."""

    def work(job: Job[None]) -> None:
        report = lambda doing, done, total: job.report(*progress(doing, done, total, size_mb))  # noqa: E731
        load_segment_anything(name, download=True, report=report)

    return work


def ious(case: Case, candidates: MaskCandidates) -> list[float] | None:
    """IoU of every candidate with the case's region; None where there is none."""
    truth = services.region_mask(case)
    if truth is None or truth.shape != candidates.best.shape:
        return None
    unknown = unknown_pixels(case.region, state.mask)
    valid = None if unknown is None or unknown.shape != truth.shape else ~unknown
    return [mask_iou(mask, truth, valid) for mask in candidates.masks]
