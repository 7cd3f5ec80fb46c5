"""Scores over a data set: maps, segmentation, recognition, retrieval. Every result names what produced it."""

from analysis.evaluation.confusion import LabelCounts
from analysis.evaluation.maps import MapScores, MapSettings, evaluate_maps
from analysis.evaluation.presets import PROTOCOLS, assumptions, class_texts
from analysis.evaluation.protocols import ClassTexts, Protocol
from analysis.evaluation.recognition import Recognition, Retrieval, evaluate_recognition, evaluate_retrieval
from analysis.evaluation.segmentation import Segmentation, evaluate_segmentation
from analysis.evaluation.segmenter import Segmented, Segmenter, query_logits, segment

__all__ = [
    "PROTOCOLS",
    "ClassTexts",
    "LabelCounts",
    "MapScores",
    "MapSettings",
    "Protocol",
    "Recognition",
    "Retrieval",
    "Segmentation",
    "Segmented",
    "Segmenter",
    "assumptions",
    "class_texts",
    "evaluate_maps",
    "evaluate_recognition",
    "evaluate_retrieval",
    "evaluate_segmentation",
    "query_logits",
    "segment",
]
