"""What is asked for: a model, a data set, methods, measures and settings, in plain values that fit into a JSON file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from analysis.studies.protocols import study_protocol
from analysis.sweep import SweepGrid
from data.store import to_json
from surgery.method_names import parse_method, write_method
from surgery.methods import Method
from surgery.prompts import resolve_templates

FRESH_SEED = 20_000
"""Of toy scenes that neither the training nor the samples contain."""


@dataclass(frozen=True, slots=True)
class Study:
    """A request; equal requests give equal results.

    Attributes:
        model, pretrained: as in `surgery.load_model`; an architecture without weights gets random ones, the same ones
            each time.
        data: "toy:N" for N toy scenes, or a folder, see `analysis.studies.images.open_data`.
        methods: names of presets or variants such as "clearclip:alpha=2"; a `Method` is written down as one.
        measures: names in `analysis.studies.MEASURES`.
        texts: what is looked for; None looks for the classes that are present in each image. With texts, every one is
            measured in every image, and has a region where it is the name of a class that is present.
        size: input size as in `Model.preprocess`; None for the native one.
        seed: of the toy scenes, and of the bootstrap.
        templates: name of prompt templates, see `surgery.prompts`.
        precision: as in `surgery.load_model`.
        limit: the first so many images only; None takes all.
        batch: images a pass, at most.
        grid: the points of the measure "alpha".
        protocol: of the measure "segmentation": "maps", or a preset such as "clearclip:voc20".

    Raises:
        ValueError: an unknown method, measure or templates, an empty list, or a number out of range.
    """

    model: str = "toy"
    pretrained: str | None = None
    data: str = "toy:200"
    methods: tuple[str, ...] = ("clip", "clip_surgery")
    measures: tuple[str, ...] = ("maps", "layers", "blame")
    texts: tuple[str, ...] | None = None
    size: int | tuple[int, int] | None = None
    seed: int = FRESH_SEED
    templates: str = "none"
    precision: str = "auto"
    limit: int | None = None
    batch: int = 8
    grid: SweepGrid = field(default_factory=SweepGrid)
    protocol: str = "maps"

    def __post_init__(self) -> None:
        set_ = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        set_("model", str(self.model))
        set_("data", str(self.data))
        set_("pretrained", None if self.pretrained is None else str(self.pretrained))
        set_("methods", tuple(_method_name(method) for method in _listed(self.methods, "methods")))
        set_("measures", tuple(dict.fromkeys(_listed(self.measures, "measures"))))
        if self.texts is not None:
            set_("texts", tuple(dict.fromkeys(_listed(self.texts, "texts"))))
        if isinstance(self.size, Sequence):
            set_("size", tuple(self.size))
        if isinstance(self.grid, Mapping):
            set_("grid", SweepGrid(**{k: tuple(v) if isinstance(v, list) else v for k, v in self.grid.items()}))
        self._check()

    def _check(self) -> None:
        from analysis.studies.measure import MEASURES

        for name in self.measures:
            if name not in MEASURES:
                raise ValueError(f"Expected measures to be among {', '.join(MEASURES)}, but got {name!r}")
        if len(set(self.methods)) != len(self.methods):
            raise ValueError(f"Expected methods to be named once each, but got {', '.join(self.methods)}")
        for name, least in (("seed", 0), ("batch", 1), ("limit", 1)):
            value = getattr(self, name)
            if not (name == "limit" and value is None) and (not isinstance(value, int) or value < least):
                raise ValueError(f"Expected {name} to be a whole number of at least {least}, but got {value!r}")
        if self.texts is not None and any(not isinstance(text, str) or not text.strip() for text in self.texts):
            raise ValueError(f"Expected texts to be prompts that are not empty, but got {self.texts!r}")
        resolve_templates(self.templates)
        study_protocol(self.protocol)

    @property
    def parsed_methods(self) -> dict[str, Method]:
        """Name -> method."""
        return {name: parse_method(name) for name in self.methods}

    def to_json(self) -> dict[str, Any]:
        """Plain values, which `from_json` reads."""
        return {item.name: to_json(getattr(self, item.name)) for item in fields(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Study":
        """The study of `to_json`.

        Raises:
            ValueError: fields that a study does not have.
        """
        unknown = sorted(set(values) - {item.name for item in fields(cls)})
        if unknown:
            raise ValueError(f"Expected a study of this version, but got the fields {', '.join(unknown)}")
        return cls(**values)


def _listed(values: Sequence[Any], name: str) -> list[Any]:
    if isinstance(values, str | Method) or not len(values):
        raise ValueError(f"Expected {name} to be a list of at least 1, but got {values!r}")
    return list(values)


def _method_name(method: str | Method) -> str:
    if isinstance(method, Method):
        return write_method(method)
    parse_method(method)
    return method.strip()
