"""What Maps sets for itself alone."""

import re
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from analysis.explainers import EXPLAINERS
from dashboard.fields import (
    choice,
    listed,
    optional,
    read_between,
    read_method_name,
    read_natural,
    read_number,
    single,
    switch,
    text,
)
from dashboard.settings import Settings

SCALES = ("signed", "minmax")
WALKER = "walker"
"""`MapsSettings.mask_with` of masks that need no further model."""
MAX_POINTS = 40
REPOSITORY = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)

Point = tuple[int, int, int]
"""x and y in pixels of the image, and 1 on the object or 0 off it."""


def read_segmenter(value: str) -> str:
    """The walker, or a repository of the Hugging Face Hub."""
    if value != WALKER and not REPOSITORY.fullmatch(value):
        raise ValueError(f"Expected {WALKER} or organisation/name, but got {value[:40]!r}")
    return value


def read_points(value: str) -> tuple[Point, ...]:
    """At most `MAX_POINTS` points, each as x.y.label, between commas."""
    points = tuple(tuple(map(read_natural, part.split("."))) for part in value.split(",") if part)
    if len(points) > MAX_POINTS or any(len(point) != 3 or point[2] > 1 for point in points):
        raise ValueError(f"Expected at most {MAX_POINTS} points x.y.label, but got {value[:40]!r}")
    return points


def write_points(points: tuple[Point, ...]) -> str:
    """The inverse of `read_points`."""
    return ",".join(".".join(map(str, point)) for point in points)


def read_box(value: str) -> tuple[int, ...]:
    """Left, top, right and bottom in pixels."""
    box = tuple(map(read_natural, value.split(".")))
    if len(box) != 4 or box[0] >= box[2] or box[1] >= box[3]:
        raise ValueError(f"Expected a box left.top.right.bottom, but got {value[:40]!r}")
    return box


def write_box(box: tuple[int, ...]) -> str:
    """The inverse of `read_box`."""
    return ".".join(map(str, box))


@dataclass(frozen=True, slots=True)
class MapsSettings(Settings):
    """Settings of the page Maps.

    Attributes:
        method_b: what the difference takes from the case's method, A - B.
        difference: whether A - B is shown.
        scale: "signed" (one scale for all) or "minmax" (each map on its own).
        threshold: values below it are hidden; None hides nothing.
        points: whether prompt points are drawn.
        opacity: how much of the maps covers the grey photograph, in [0, 1].
        ranked: whether the most probable prompt stands first.
        explainers: explainers whose relevance is shown under the maps of the methods.
        judged: whether all maps of the examined text are judged.
        masks: whether masks are cut out under the maps.
        mask_prompt: the text whose map gives the points; "" for the examined one.
        mask_cut: cells of the map in [0, 1] at or above it are points.
        mask_with: `WALKER`, or a repository with a Segment Anything model.
        mask_points, mask_box: the visitor's own, in pixels of the image, in place of the map's.
        mask_object, mask_candidate: the chosen object and its chosen candidate, from 0.
    """

    PAGE: ClassVar = "maps"
    FIELDS: ClassVar = {
        "method_b": text("minus", read_method_name),
        "difference": switch("difference"),
        "scale": text("scale", choice(*SCALES)),
        "threshold": optional("threshold", read_number, repr),
        "points": switch("points"),
        "opacity": single("opacity", read_between(0, 1), repr),
        "ranked": switch("ranked"),
        "explainers": listed("explainers", choice(*EXPLAINERS)),
        "judged": switch("judged"),
        "masks": switch("masks"),
        "mask_prompt": text("mask_prompt"),
        "mask_cut": single("mask_cut", read_between(0.05, 1.0), "{:g}".format),
        "mask_with": text("mask_with", read_segmenter),
        "mask_points": single("mask_points", read_points, write_points),
        "mask_box": optional("mask_box", read_box, write_box),
        "mask_object": single("mask_object", read_natural),
        "mask_candidate": single("mask_candidate", read_natural),
    }

    method_b: str = "clip"
    difference: bool = False
    scale: str = "signed"
    threshold: float | None = None
    points: bool = False
    opacity: float = 1.0
    ranked: bool = False
    explainers: tuple[str, ...] = ()
    judged: bool = False
    masks: bool = False
    mask_prompt: str = ""
    mask_cut: float = 0.8
    mask_with: str = WALKER
    mask_points: tuple[Point, ...] = ()
    mask_box: tuple[int, ...] | None = None
    mask_object: int = 0
    mask_candidate: int = 0

    def of_new_image(self) -> Self:
        """Points, box and choices belong to the image that is leaving."""
        return replace(self, mask_points=(), mask_box=None, mask_object=0, mask_candidate=0)
