"""The measures, one file a subject; importing them registers them."""

from analysis.studies.measures import blame, layers, lens, maps

__all__ = ["blame", "layers", "lens", "maps"]
