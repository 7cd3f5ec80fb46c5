"""Files of what stands right of the maps of Flip: maps of all heads, the path of a head, removals done together."""

import io

import numpy as np
import pandas as pd

from analysis.decomposition import Component
from analysis.flips import FlipReport
from analysis.head_maps import HeadMaps
from analysis.head_paths import SIDES, HeadPath
from analysis.interventions import JointRemoval
from dashboard.case import Case
from dashboard.pages.flip.results import head_maps, joint_removal, path_head, path_of
from dashboard.pages.flip.settings import FlipSettings
from dashboard.panels.page import File
from data.store import to_csv


def look_files(case: Case, own: FlipSettings, report: FlipReport, chosen: Component | None) -> dict[str, File]:
    """The files of the look that is open; none for the blame, which the page's own files hold, and for words."""
    head = path_head(report, chosen)
    if own.look == "heads" and head is not None:
        found = head_maps(case, report, own.split)
        return {"NPZ, maps of all heads": File("head_maps.npz", lambda: heads_npz(found))}
    if own.look == "path" and head is not None:
        path = path_of(case, head)
        return {"CSV, the path": File("path.csv", lambda: to_csv(path_table(path)))}
    joint = joint_removal(case, report) if own.look == "together" else None
    return {} if joint is None else {"CSV, removals": File("removals.csv", lambda: to_csv(joint_table(joint)))}


def heads_npz(found: HeadMaps) -> bytes:
    """Maps (k, gh, gw), the labels of their components, and what CLS and registers add to each sum."""
    stream = io.BytesIO()
    labels = np.array([part.label for part in found.components])
    np.savez_compressed(stream, maps=found.maps, labels=labels, prefix=found.prefix)
    return stream.getvalue()


def path_table(path: HeadPath) -> pd.DataFrame:
    """A row a component, its terms of query, key and value; the last row is the total."""
    rows = [part.label for part in path.components]
    columns = {side: [*path.terms(side), path.total(side)] for side in SIDES}
    return pd.DataFrame({"component": [*rows, "total"], **columns})


def joint_table(joint: JointRemoval) -> pd.DataFrame:
    """A row a component with its blame and the change when it alone is removed; then their sum, and all at once."""
    rows = [(single.component.label, single.blame, single.change) for single in joint.singles]
    rows += [("sum", joint.blame, joint.sum_of_changes), ("all at once", joint.blame, joint.change)]
    return pd.DataFrame(rows, columns=["component", "blame", "change"])
