"""Why a map flipped: pure functions of traces and features, each answering one question with a frozen result."""

from analysis.affinity import (
    Affinity,
    BestPartners,
    LayerReport,
    SameRegionMass,
    attention_map,
    best_partners,
    compute_affinity,
    compute_layers,
    same_region_mass,
)
from analysis.decomposition import Blame, Component, decompose
from analysis.flips import FlipReport, diagnose, examine
from analysis.insertion import InsertionDeletion, insertion_deletion
from analysis.interventions import Intervention, ablate, components_of, iterate_interventions
from analysis.lens import LogitLens, logit_lens, turning_layer
from analysis.metrics import (
    MeanAveragePrecision,
    ThresholdIou,
    average_precision,
    best_threshold_iou,
    contrast,
    flip_auc,
    mean_average_precision,
    pointing_game,
    score_contrast,
)
from analysis.norms import (
    Entropy,
    OutlierToken,
    StreamMeasure,
    compute_cosine_to_cls,
    compute_entropy,
    compute_norms,
    outlier_tokens,
)
from analysis.regions import Region, regions_from_labels

__all__ = [
    "turning_layer",
    "logit_lens",
    "LogitLens",
    "iterate_interventions",
    "components_of",
    "ablate",
    "Intervention",
    "examine",
    "diagnose",
    "FlipReport",
    "decompose",
    "Component",
    "Blame",
    "Affinity",
    "BestPartners",
    "Entropy",
    "InsertionDeletion",
    "LayerReport",
    "MeanAveragePrecision",
    "OutlierToken",
    "Region",
    "SameRegionMass",
    "StreamMeasure",
    "ThresholdIou",
    "attention_map",
    "average_precision",
    "best_partners",
    "best_threshold_iou",
    "compute_affinity",
    "compute_cosine_to_cls",
    "compute_entropy",
    "compute_layers",
    "compute_norms",
    "contrast",
    "flip_auc",
    "insertion_deletion",
    "mean_average_precision",
    "outlier_tokens",
    "pointing_game",
    "regions_from_labels",
    "same_region_mass",
    "score_contrast",
]
