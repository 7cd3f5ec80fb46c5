"""Synthetic scenes with exact masks, and the small CLIP that was trained on them (see MODEL.md)."""

from data.toy.scenes import Scene, SceneObject, make_scenes

__all__ = ["Scene", "SceneObject", "make_scenes"]
