"""What can be taken away from the Affinity page: the weights of the patch, all weights, the measures."""

import io
import json
from dataclasses import asdict

import numpy as np
import pandas as pd

from analysis.affinity import PARTNERS, QUERIES, Affinity, BestPartners, SameRegionMass
from dashboard.case import Case, Patch
from dashboard.figures.affinity import mass_over_blocks, partner_shares
from dashboard.pages.affinity import results
from dashboard.pages.affinity.settings import AffinitySettings
from dashboard.panels.page import Exports, File
from dashboard.snippets import ARRAYS, IMPORT_ARRAYS, join, python_case
from data.store import to_csv


def affinity_exports(case: Case, own: AffinitySettings, affinity: Affinity, patch: Patch) -> Exports:
    """The exports of the page; files are made when they are asked for.

    Args:
        case: any case.
        own: the page's settings.
        affinity: of the chosen block and head.
        patch: the query whose maps are handed out.
    """
    measures = (results.mass(case, affinity.kinds), results.partners(case, affinity.kinds)) if case.region else None
    return Exports(
        python=python_affinity(case, affinity, patch),
        files={
            "CSV, the patch's weights": File("affinity.csv", lambda: to_csv(affinity_table(affinity, patch))),
            "NPZ, all weights": File("affinity.npz", lambda: affinity_npz(affinity)),
            "JSON, the measures": File("affinity.json", lambda: affinity_json(case, own, affinity, patch, measures)),
        },
    )


def affinity_table(affinity: Affinity, patch: Patch) -> pd.DataFrame:
    """One row per kind and patch: kind, row, column, weight; the CLS token has neither row nor column."""
    frames = []
    for kind, values, cls in zip(affinity.kinds, affinity.maps(patch), affinity.cls_share(patch), strict=True):
        rows, columns = np.indices(values.shape)
        frame = pd.DataFrame({"row": rows.ravel(), "column": columns.ravel(), "weight": values.ravel()})
        frames.append(frame.assign(kind=kind))
        if affinity.has_cls:
            frames.append(pd.DataFrame({"kind": [kind], "row": [pd.NA], "column": [pd.NA], "weight": [cls]}))
    table = pd.concat([frame.astype({"row": "Int64", "column": "Int64"}) for frame in frames], ignore_index=True)
    return table[["kind", "row", "column", "weight"]]


def affinity_npz(affinity: Affinity) -> bytes:
    """All weights (kinds, tokens, tokens) of the block and head, with the names of the kinds."""
    stream = io.BytesIO()
    grid, prefix = np.array(affinity.grid), np.array(affinity.prefix)
    np.savez_compressed(stream, weights=affinity.weights, kinds=np.array(affinity.kinds), grid=grid, prefix=prefix)
    return stream.getvalue()


def affinity_json(
    case: Case,
    own: AffinitySettings,
    affinity: Affinity,
    patch: Patch,
    measures: tuple[SameRegionMass, BestPartners] | None,
) -> bytes:
    """The case, what the patch does, and where there is a region what its patches do, per kind."""
    row, column = patch
    kinds = {
        kind: {"itself": float(own[row, column]), "cls": float(cls)}
        for kind, own, cls in zip(affinity.kinds, affinity.maps(patch), affinity.cls_share(patch), strict=True)
    }
    if measures is not None:
        mass = mass_over_blocks(measures[0], affinity.head)  # (kinds, blocks, 2)
        shares = partner_shares(measures[1], affinity.block, affinity.head)  # (kinds, 2, 6)
        for index, kind in enumerate(measures[0].kinds):
            kinds[kind]["same_region_mass"] = {q: mass[index, :, i].tolist() for i, q in enumerate(QUERIES)}
            kinds[kind]["best_partner"] = {
                q: dict(zip(PARTNERS, shares[index, i].tolist(), strict=True)) for i, q in enumerate(QUERIES)
            }
    content = {
        "case": asdict(case),
        "settings": asdict(own),
        "block": affinity.block,
        "head": affinity.head,
        "patch": list(patch),
        "kinds": kinds,
    }
    return json.dumps(content, indent=2, ensure_ascii=False).encode()


def python_affinity(case: Case, affinity: Affinity, patch: Patch) -> str:
    """`maps` (kinds, gh, gw) and `cls` (kinds,) of the patch; with a region `mass` of every block, and `partners`."""
    imports = ["from analysis import compute_affinity", *IMPORT_ARRAYS]
    body = [
        ARRAYS,
        f"kinds = {list(affinity.kinds)!r}",
        f"affinity = compute_affinity(trace, kinds, block={affinity.block}, head={affinity.head})",
        f"maps, cls = affinity.maps({patch}), affinity.cls_share({patch})",
        f"itself = maps[:, {patch[0]}, {patch[1]}]",
        'print(maps.shape, kinds, "itself", itself, "CLS", cls)',
    ]
    if case.region:
        of_head = "mean(axis=2)" if affinity.head is None else f"take({affinity.head}, axis=2)"
        shares = "mean" if affinity.head is None else "heads"
        head = "" if affinity.head is None else f", {affinity.head}"
        imports += ["from analysis import best_partners, same_region_mass", "from analysis.affinity import PARTNERS"]
        body += [
            f"flow = same_region_mass(trace, kinds, region).flow[:, :, 0].{of_head}  # (kinds, blocks, 2, 5)",
            "own = np.stack([flow[:, :, 0, 1], flow[:, :, 1, 2]], axis=-1)  # within foreground, within background",
            "mass = own / flow[..., 1:4].sum(axis=-1)  # (kinds, blocks, 2), of the weight on patches",
            f"partners = best_partners(trace, kinds, region).{shares}[:, {affinity.block}, 0{head}]  # (kinds, 2, 6)",
            'print("same-region mass", mass)',
            "print(PARTNERS, partners)",
        ]
        imports.append("import numpy as np")
    return join(python_case(case, "trace", "region"), imports, body)
