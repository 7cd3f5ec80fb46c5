"""Scores over a data set: maps, segmentation, recognition, retrieval. Every result names what produced it."""

from analysis.evaluation.maps import MapScores, MapSettings, evaluate_maps
from analysis.evaluation.recognition import Recognition, Retrieval, evaluate_recognition, evaluate_retrieval
from analysis.evaluation.segmentation import (
    Segmentation,
    SegmentationSettings,
    compute_class_maps,
    evaluate_segmentation,
)

__all__ = [
    "MapScores",
    "MapSettings",
    "Recognition",
    "Retrieval",
    "Segmentation",
    "SegmentationSettings",
    "compute_class_maps",
    "evaluate_maps",
    "evaluate_recognition",
    "evaluate_retrieval",
    "evaluate_segmentation",
]
