"""What turns an image into a label map besides the method: one frozen record, the same for every published protocol."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from analysis.evaluation.feedback import Feedback
from analysis.refinement import parse_refinement
from data.class_lists import read_class_list
from surgery import TITLES, Method
from surgery.methods import METHODS, get_method
from surgery.prompts import resolve_templates

Remainder = Literal["floor", "pad"]
MAX_CLASSES = 255
"""Labels are uint8, and 255 is ignored in masks."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """How an image becomes a label map. Use `dataclasses.replace` for variants.

    Attributes:
        method: how dense features are read: a name of `surgery.METHODS`, or a `Method`.
        short_side, long_side: in pixels; the image is scaled so that neither side is longer than its own.
        window, stride: side and step of the sliding window in pixels; window 0 sees the whole image in one pass.
        remainder: where a window is no multiple of the patch, the rest is dropped and the map stretched over the
            window ("floor"), or the window is padded with zeros and the map cut ("pad").
        scale: factor of the cosines in the softmax over all names.
        threshold: a pixel whose largest class probability is below it is of class 0.
        area: classes other than 0 with at most this share of all pixels not of class 0 are taken out; 0 keeps all.
        pamr_steps, pamr_dilations: pixel-adaptive refinement of the cosines; 0 steps are none.
        templates: name of the prompt templates, or a tuple of them; see `surgery.prompts`.
        refine: "affinity" or "clusters" for the patches of every window, see `analysis.refinement`; "" for nothing.
            PAMR has fields of its own, since it refines whole images.
        feedback: ResCLIP's second attention, which knows a first segmentation; None without.
        views: weight of ITACLIP's upright views beside the flipped ones, see `analysis.evaluation.views`; 0 is the
            image alone.
        closing: whether label maps are closed by a 3 x 3 square, as numbers, at the end.

    Raises:
        ValueError: a field is out of range; the message names it and its value.
    """

    method: str | Method = "clip"
    short_side: int = 336
    long_side: int = 2048
    window: int = 224
    stride: int = 112
    remainder: Remainder = "floor"
    scale: float = 40.0
    threshold: float = 0.0
    area: float = 0.0
    pamr_steps: int = 0
    pamr_dilations: tuple[int, ...] = (8, 16)
    templates: str | tuple[str, ...] = "imagenet"
    refine: str = ""
    feedback: Feedback | None = None
    views: float = 0.0
    closing: bool = False

    def __post_init__(self) -> None:
        get_method(self.method)
        for name, least in (("short_side", 1), ("long_side", 1), ("window", 0), ("stride", 1), ("pamr_steps", 0)):
            _check_whole(name, getattr(self, name), least)
        for dilation in self.pamr_dilations:
            _check_whole("every dilation in pamr_dilations", dilation, 1)
        if self.pamr_steps and not self.pamr_dilations:
            raise ValueError("Expected pamr_dilations to hold at least 1 dilation, but got none")
        if self.window and self.stride > self.window:
            raise ValueError(f"Expected stride to be at most window ({self.window}), but got {self.stride}")
        if self.remainder not in get_args(Remainder):
            raise ValueError(f"Expected remainder to be floor or pad, but got {self.remainder!r}")
        if not 0 < self.scale < float("inf"):
            raise ValueError(f"Expected scale to be above 0, but got {self.scale!r}")
        for name in ("threshold", "area", "views"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"Expected {name} to be from 0 to 1, but got {getattr(self, name)!r}")
        resolve_templates(self.templates)
        if self.refine and parse_refinement(self.refine).by_pixel:
            raise ValueError(f"Expected pamr_steps for PAMR and refine for a step on patches, but got {self.refine!r}")

    def __str__(self) -> str:
        """The whole protocol in one line."""
        view = f"windows {self.window}/{self.stride}" if self.window else "whole image"
        parts = [
            describe_method(self.method),
            f"short side {self.short_side} (long <= {self.long_side})",
            f"{view}, remainder {self.remainder}",
            f"scale {self.scale:g}, threshold {self.threshold:g}, area {self.area:g}",
            f"PAMR {self.pamr_steps} steps {self.pamr_dilations}" if self.pamr_steps else "no PAMR",
            *([f"refined by {self.refine}"] if self.refine else []),
            *([str(self.feedback)] if self.feedback else []),
            *([f"five views, weight {self.views:g}"] if self.views else []),
            *(["labels closed"] if self.closing else []),
            f"templates {self.templates if isinstance(self.templates, str) else len(self.templates)}",
        ]
        return "; ".join(parts)


def describe_method(method: str | Method) -> str:
    """A preset's title, or all numbers of another method.

    >>> describe_method("sclip")
    'SCLIP'
    """
    chosen = get_method(method)
    for name, preset in METHODS.items():
        if preset == chosen:
            return TITLES[name]
    mlp = "with MLP" if chosen.mlp else "no MLP"
    return (
        f"{chosen.attention} over {chosen.blocks} blocks, residual {chosen.residual:g}, alpha {chosen.alpha:g}, {mlp}, "
        f"positions {chosen.position_interpolation}"
    )


def _check_whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"Expected {name} to be a whole number of at least {least}, but got {value!r}")


@dataclass(frozen=True)
class ClassTexts:
    """The names of every class; each name is a query of its own.

    Attributes:
        classes: one tuple of names a class, in label order.

    Raises:
        ValueError: no class, a class without a name, or more than `MAX_CLASSES`.
        TypeError: a name that is not text.

    >>> ClassTexts((("sky", "wall"), ("cat",))).class_of_query
    (0, 0, 1)
    """

    classes: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        classes = tuple((names,) if isinstance(names, str) else tuple(names) for names in self.classes)
        object.__setattr__(self, "classes", classes)
        if not 1 <= len(classes) <= MAX_CLASSES:
            raise ValueError(f"Expected classes to be from 1 to {MAX_CLASSES}, but got {len(classes)}")
        for index, names in enumerate(classes):
            if not names:
                raise ValueError(f"Expected every class to have a name, but got none for class {index}")
            for name in names:
                if not isinstance(name, str):
                    raise TypeError(f"Expected every name to be text, but got {name!r} for class {index}")

    @classmethod
    def read(cls, source: str | Path) -> "ClassTexts":
        """From a class file, or a list that comes along; see `data.class_lists.read_class_list`."""
        return cls(read_class_list(source))

    @cached_property
    def queries(self) -> tuple[str, ...]:
        """All q names in order."""
        return tuple(name for names in self.classes for name in names)

    @cached_property
    def class_of_query(self) -> tuple[int, ...]:
        """The class of each of the q names."""
        return tuple(index for index, names in enumerate(self.classes) for _ in names)

    @property
    def names(self) -> tuple[str, ...]:
        """The first name of each class."""
        return tuple(names[0] for names in self.classes)

    def __len__(self) -> int:
        return len(self.classes)
