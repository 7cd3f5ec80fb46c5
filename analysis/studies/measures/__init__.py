"""The measures, one file a subject; importing them registers them."""

from analysis.studies.measures import (
    ablation,
    alpha,
    blame,
    explanations,
    layers,
    lens,
    maps,
    pictures,
    recognition,
    retrieval,
    segmentation,
    words,
)

__all__ = [
    "ablation",
    "alpha",
    "blame",
    "explanations",
    "layers",
    "lens",
    "maps",
    "pictures",
    "recognition",
    "retrieval",
    "segmentation",
    "words",
]
