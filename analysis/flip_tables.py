"""A `FlipReport` as tables, for files and notebooks."""

import pandas as pd

from analysis.flips import FlipReport


def component_table(report: FlipReport) -> pd.DataFrame:
    """One row per component, in the order of the network; a block's attention as a whole comes after its parts.

    Returns:
        Columns component (short name), kind, block, head, blame (what it adds to the contrast of the CLIP map), in_sum,
        and contrast_without and change (what removing it did), empty where it was not removed. The blame of the rows
        with in_sum True adds up to the contrast; the others are whole attentions, the sums of their heads and bias.
    """
    removed = {found.component: found for found in report.interventions}
    parts = frozenset(report.blame.components)
    rows = []
    for blame in (report.blame, report.blame.merged()):
        for part, term in zip(blame.components, blame.contrast(report.region)[0, :, 0], strict=True):
            done = removed.get(part)
            row = {"component": part.label, "kind": part.kind, "block": part.block, "head": part.head}
            row |= {"blame": term, "in_sum": part in parts}
            rows.append(row | {"contrast_without": done and done.contrast, "change": done and done.change})
    table = pd.DataFrame(rows).drop_duplicates("component").astype({"block": "Int64", "head": "Int64"})
    table = table.astype({"contrast_without": "float64", "change": "float64"})
    return table.sort_values("block", kind="stable", na_position="first", ignore_index=True)


def method_table(report: FlipReport) -> pd.DataFrame:
    """One row per method: its name, the numbers that define it, contrast, score contrast and flip AUC."""
    rows = []
    for name, found in report.readings.items():
        settings = {field: getattr(found.method, field) for field in found.method.__dataclass_fields__}
        figures = {"contrast": found.contrast, "score_contrast": found.score_contrast, "flip_auc": found.flip_auc}
        rows.append({"method": name, **settings, **figures})
    return pd.DataFrame(rows)
