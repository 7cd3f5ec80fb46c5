"""Synthetic scenes with exact masks, and the small CLIP that was trained on them (see MODEL.md)."""

from data.toy.scenes import Scene, SceneObject, make_scenes
from data.toy.vocabulary import describe_limits, describe_vocabulary, unknown_words

__all__ = ["Scene", "SceneObject", "describe_limits", "describe_vocabulary", "make_scenes", "unknown_words"]
