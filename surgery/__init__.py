"""Operating on CLIP: load a model, record one pass, read dense features out of it by any method."""

from surgery.checkpoints import CheckpointWarning
from surgery.dense import (
    DenseFeatures,
    InterpolationWarning,
    dense_features,
    encode_dense,
    iterate_dense_features,
    usable_methods,
)
from surgery.downloads import WeightsNotFound
from surgery.features import Similarity, class_probabilities, feature_surgery, similarity
from surgery.maps import PromptPoints, prompt_points, similarity_maps
from surgery.methods import CLASSIC, METHODS, TITLES, Method
from surgery.models import Model, load_model
from surgery.trace import Trace
from surgery.weights import RandomWeightsWarning

__all__ = [
    "CLASSIC",
    "METHODS",
    "TITLES",
    "CheckpointWarning",
    "DenseFeatures",
    "InterpolationWarning",
    "Method",
    "Model",
    "PromptPoints",
    "RandomWeightsWarning",
    "Similarity",
    "Trace",
    "WeightsNotFound",
    "class_probabilities",
    "dense_features",
    "encode_dense",
    "feature_surgery",
    "iterate_dense_features",
    "load_model",
    "prompt_points",
    "similarity",
    "similarity_maps",
    "usable_methods",
]
