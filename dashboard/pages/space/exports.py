"""What can be taken away from the Space page: the points, how they were made."""

import io
import json
from dataclasses import asdict

import numpy as np
import pandas as pd

from dashboard.case import Case
from dashboard.figure_page import figures_html
from dashboard.figures.space import Layout, plot_space
from dashboard.pages.space.results import SEED
from dashboard.pages.space.settings import SpaceSettings
from dashboard.panels.page import Exports, File
from dashboard.snippets import import_methods, join, python_case, python_methods
from data.store import to_csv


def space_exports(case: Case, own: SpaceSettings, found: Layout, by: str) -> Exports:
    """The exports of the page; files are made when they are asked for."""

    def page() -> bytes:
        figure = plot_space(found, by, own.lit, case.patch)
        return figures_html("Which patches live together?", ", ".join(found.sources), f"{case} {own}", [figure])

    return Exports(
        python=python_space(case, own, found),
        files={
            "HTML, interactive": File("space.html", page),
            "CSV, a row a point": File("space.csv", lambda: to_csv(space_table(own, found))),
            "NPZ, all arrays": File("space.npz", lambda: space_npz(own, found)),
            "JSON, settings": File("space.json", lambda: space_json(case, own, found)),
        },
    )


def space_table(own: SpaceSettings, found: Layout) -> pd.DataFrame:
    """One row per source and patch: source, row, column, x, y, lit, and region and nearest prompt where known."""
    s, n = found.coordinates.shape[:2]
    rows, columns = np.divmod(np.tile(np.arange(n), s), found.grid[1])
    table = pd.DataFrame(
        {
            "source": np.repeat(np.array(found.sources, dtype=object), n),
            "row": rows,
            "column": columns,
            "x": found.coordinates[..., 0].ravel(),
            "y": found.coordinates[..., 1].ravel(),
            "lit": np.tile(np.isin(np.arange(n), own.lit), s),
        }
    )
    if found.region is not None:
        table["region"] = np.tile(found.region, s)
    if found.nearest is not None:
        table["nearest_prompt"] = found.nearest.ravel()
    return table


def space_npz(own: SpaceSettings, found: Layout) -> bytes:
    """Coordinates (s, n, 2), sources, grid, lit patches."""
    arrays = {"coordinates": found.coordinates, "sources": np.array(found.sources), "grid": np.array(found.grid)}
    arrays |= {"lit": np.array(own.lit, dtype=np.int64), "explained_variance": np.array(found.explained)}
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def space_json(case: Case, own: SpaceSettings, found: Layout) -> bytes:
    """Every setting and how the points were laid out."""
    content = {
        "case": asdict(case),
        "settings": asdict(own),
        "sources": found.sources,
        "projection": found.method,
        "seed": SEED,
        "explained_variance": found.explained,
    }
    return json.dumps(content, indent=2, ensure_ascii=False).encode()


def python_space(case: Case, own: SpaceSettings, found: Layout) -> str:
    """`projection`, whose table has one row per point in the order of the page."""
    imports = ["from analysis import project_tokens"]
    if own.tokens_of == "method":
        needs = "pixels"
        imports += ["from analysis import token_set_from_features", "from surgery import encode_dense"]
        imports += import_methods(found.names)
        body = [
            *python_methods(case, found.names),
            "items = [",
            "    token_set_from_features(encode_dense(model, pixels, method), name)",
            "    for name, method in methods.items()",
            "]",
        ]
    else:
        needs = "trace"
        imports.append("from analysis import token_set_from_trace")
        streams = [0 if name == "emb." else int(name) + 1 for name in found.names]
        body = [
            f"streams = {streams}  # stream l + 1 leaves block l, stream 0 is the embedding",
            "items = [token_set_from_trace(trace, stream) for stream in streams]",
        ]
    body.append(f"projection = project_tokens(items, {found.method!r}, seed={SEED})")
    variance = ', "of variance", projection.explained_variance' if found.explained else ""
    body.append(f"print(projection.coordinates.shape, projection.coordinates[:3]{variance})")
    return join(python_case(case, needs), imports, body)
