"""The published protocols by (method, data set), the class files that go with them, and what of them is not public.

Source: the repositories of SCLIP (arXiv 2312.01597), ClearCLIP (2407.12442), NACLIP (2404.08181), ResCLIP (2411.15851)
and ITACLIP (2411.12044); the issue threads of CLIP Surgery (2304.05653) and ClearCLIP for what the papers leave open.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from analysis.evaluation.feedback import Feedback
from analysis.evaluation.protocols import ClassTexts, Protocol
from surgery import Method

DATA_SETS: tuple[str, ...] = (
    "voc21", "context60", "coco_object", "voc20", "context59", "coco_stuff", "cityscapes", "ade20k", "coco_stuff10k",
)  # fmt: skip
"""In the order of the published tables; the first three have a background class."""
STUFF_10K = "coco_stuff10k"
WITH_BACKGROUND = DATA_SETS[:3]
COMMON = "common"
"""One protocol for all methods, ClearCLIP's; `dataclasses.replace(PROTOCOLS["common", "voc21"], method="gem")`."""

_SCLIP = Protocol("sclip", short_side=336, window=224, stride=112, remainder="floor", scale=40.0)
_CLEARCLIP = Protocol("clearclip", short_side=448, window=448, stride=224, remainder="pad", scale=50.0)
_NACLIP = replace(_SCLIP, method="naclip")
_SURGERY = Protocol("clip_surgery", short_side=512, window=0, remainder="floor", templates="clip_surgery")
_CLEARCLIP_THRESHOLDS = {"voc21": 0.5, "context60": 0.15, "coco_object": 0.4}

IN_CLEARCLIPS = ("clip", "maskclip", "gem", COMMON)
"""Methods whose published rows were measured in ClearCLIP's protocol."""
METHOD_NAMES: tuple[str, ...] = ("clip", "maskclip", "clip_surgery", "sclip", "gem", "naclip", "naclip_pamr",
                                 "resclip", "itaclip", "clearclip", COMMON)  # fmt: skip

_RESCLIP: dict[str, tuple[float, float, float, float]] = {
    "voc21": (0.3, 2.2, 0.7, 0.5),
    "context60": (0.3, 1.8, 0.7, 0.3),
    "coco_object": (0.4, 1.8, 0.7, 0.11),
    "voc20": (0.6, 2.1, 0.6, 0.1),
    "context59": (0.4, 1.8, 0.7, 0.25),
    "coco_stuff": (0.4, 1.8, 0.7, 0.11),
    "cityscapes": (0.2, 2.1, 0.6, 0.1),
    "ade20k": (0.3, 2.1, 0.7, 0.25),
}
"""ResCLIP's configurations: lambda of the cross-correlation, tau, lambda and threshold of the feedback."""


def _sclip(data_set: str) -> Protocol:
    protocol = replace(_SCLIP, threshold=0.1 if data_set in WITH_BACKGROUND else 0.0)
    if data_set == "voc21":
        return replace(protocol, scale=65.0, area=0.1)
    if data_set in WITH_BACKGROUND:
        return replace(protocol, scale=50.0)
    return replace(protocol, short_side={"cityscapes": 560, "coco_stuff": 448}.get(data_set, 336))


def _naclip(data_set: str) -> Protocol:
    return replace(
        _NACLIP,
        short_side=560 if data_set == "cityscapes" else 336,
        window=0 if data_set in ("voc20", "voc21") else 224,
        threshold=0.1 if data_set in WITH_BACKGROUND else 0.0,
    )


def _resclip(data_set: str) -> Protocol:
    """On NACLIP's protocol: cross-correlation with tau 2, then the feedback."""
    share, temperature, weight, threshold = _RESCLIP["coco_stuff" if data_set == STUFF_10K else data_set]
    attention = f"{2 * (1 - share):g}*kk+gaussian + {2 * share:g}*qk@-7..-4"
    method = Method(attention, residual=0.0, mlp=False)
    return replace(_naclip(data_set), method=method, feedback=Feedback(threshold, temperature, weight))


def _itaclip(data_set: str) -> Protocol:
    return replace(
        _SCLIP,
        method="itaclip",
        short_side={"cityscapes": 560, "coco_stuff": 448}.get(data_set, 336),
        stride=28,
        scale={"voc21": 60.0, "context60": 55.0, "coco_object": 50.0}.get(data_set, 40.0),
        threshold=0.1 if data_set in WITH_BACKGROUND else 0.0,
        area=0.1 if data_set == "voc21" else 0.0,
        pamr_steps=10,
        views=0.7 if data_set in ("voc21", "cityscapes") else 0.75,
        closing=True,
    )


def _clearclip(data_set: str) -> Protocol:
    protocol = replace(_CLEARCLIP, threshold=_CLEARCLIP_THRESHOLDS.get(data_set, 0.0))
    return replace(protocol, window=224) if data_set == "cityscapes" else protocol


def _build(method: str, data_set: str) -> Protocol:
    if method == "sclip":
        return _sclip(data_set)
    if method == "naclip":
        return _naclip(data_set)
    if method == "naclip_pamr":
        return replace(_naclip(data_set), pamr_steps=10)
    if method == "resclip":
        return _resclip(data_set)
    if method == "itaclip":
        return _itaclip(data_set)
    if method == "clip_surgery":
        return _SURGERY
    own = {} if method in ("clearclip", COMMON) else {"method": method}
    if (method, data_set) == ("clip", "voc21"):
        own["threshold"] = 0.2
    return replace(_clearclip(data_set), **own)


PROTOCOLS: Mapping[tuple[str, str], Protocol] = MappingProxyType(
    {(method, data_set): _build(method, data_set) for method in METHOD_NAMES for data_set in DATA_SETS}
)
"""(method, data set) -> protocol: every one of `METHOD_NAMES` on every one of `DATA_SETS`."""

_SYNONYMS = ("voc20", "voc21", "coco_object")


def class_list_of(method: str, data_set: str) -> str:
    """Name of the class file of a preset; see `data.class_lists.CLASS_LISTS`."""
    check_preset(method, data_set)
    several = method in ("sclip", "naclip", "naclip_pamr", "resclip", "itaclip") and data_set in _SYNONYMS
    return f"{data_set}_synonyms" if several else data_set.removesuffix("10k")


def class_texts(method: str, data_set: str) -> ClassTexts:
    """The names of the classes that go with `PROTOCOLS[method, data_set]`.

    Raises:
        ValueError: no such preset.

    >>> len(class_texts("sclip", "voc21").queries), len(class_texts("clearclip", "voc21").queries)
    (56, 21)
    """
    return ClassTexts.read(class_list_of(method, data_set))


def assumptions(method: str, data_set: str) -> tuple[str, ...]:
    """What of a preset is not public and was assumed; empty where all of it is.

    Raises:
        ValueError: no such preset.
    """
    check_preset(method, data_set)
    found = []
    if data_set == STUFF_10K and method != "sclip":
        found.append("the numbers of COCO-Stuff: SCLIP alone has a configuration for the 10k images")
    if method == "itaclip":
        found.append(
            "SCLIP's class names, and no texts by a language model, which its figures have (weight 0.05 to 0.2)"
        )
        if data_set in ("voc20", "context59", "ade20k"):
            found.append("no figure was published on this data set")
    if method == "clip_surgery":
        found.append("input size, short side 512 in one pass: the evaluation code was never released")
        if data_set in WITH_BACKGROUND:
            found.append("background as one more name: the paper counts foreground classes only")
        if data_set not in ("context59", "coco_stuff", "cityscapes"):
            found.append("no figure was published on this data set")
    own_threshold = method in ("clearclip", COMMON) or (method, data_set) == ("clip", "voc21")
    if method in IN_CLEARCLIPS and data_set in WITH_BACKGROUND and not own_threshold:
        found.append(f"threshold {_CLEARCLIP_THRESHOLDS[data_set]:g}: ClearCLIP's own")
    if method in ("clearclip", *IN_CLEARCLIPS) and data_set == "cityscapes":
        found.append("window 224 with stride 224, as in the code; whether the published figure used it is not known")
    if method in ("clip", "maskclip", "gem") and data_set in WITH_BACKGROUND:
        found.append("the published figure is quoted by a later paper whose protocol for it is not known")
    return tuple(found)


def check_preset(method: str, data_set: str) -> None:
    """Raises ValueError for a method or a data set without presets, naming the valid ones."""
    if method not in METHOD_NAMES:
        raise ValueError(f"Expected method to be one of {', '.join(METHOD_NAMES)}, but got {method!r}")
    if data_set not in DATA_SETS:
        raise ValueError(f"Expected data_set to be one of {', '.join(DATA_SETS)}, but got {data_set!r}")
