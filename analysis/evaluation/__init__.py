"""Segmentation by the published protocols, and the tables of the README; other scores are in `analysis.studies`."""

from analysis.evaluation.confusion import LabelCounts
from analysis.evaluation.presets import PROTOCOLS, assumptions, class_texts
from analysis.evaluation.protocols import ClassTexts, Protocol
from analysis.evaluation.segmentation import Segmentation, evaluate_segmentation
from analysis.evaluation.segmenter import Segmented, Segmenter, query_logits, segment

__all__ = [
    "PROTOCOLS",
    "ClassTexts",
    "LabelCounts",
    "Protocol",
    "Segmentation",
    "Segmented",
    "Segmenter",
    "assumptions",
    "class_texts",
    "evaluate_segmentation",
    "query_logits",
    "segment",
]
