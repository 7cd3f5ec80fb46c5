"""Explanations beside the surgeries: gradient and relevance maps of a pair of image and text, each from its paper."""

from analysis.explainers.captions import CAPTION_EXPLAINERS, CaptionExplainer, caption_relevance, explain_caption
from analysis.explainers.explanation import CaptionExplanation, Explanation
from analysis.explainers.images import EXPLAINERS, Explainer, check_explainer, explain, usable_explainers

__all__ = [
    "CAPTION_EXPLAINERS",
    "EXPLAINERS",
    "CaptionExplainer",
    "CaptionExplanation",
    "Explainer",
    "Explanation",
    "caption_relevance",
    "check_explainer",
    "explain",
    "explain_caption",
    "usable_explainers",
]
