"""What can be taken away from the Maps page: interactive HTML, every number."""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import pandas as pd

from analysis import Region, contrast, flip_auc
from analysis.explainers import usable_explainers
from dashboard import services
from dashboard.case import Case, method_title
from dashboard.figures import plot_maps
from dashboard.pages.maps.settings import MapsSettings
from dashboard.pages.maps.snippet import python_maps
from dashboard.panels.page import Exports, File
from dashboard.services import Maps
from data.store import to_csv


def maps_exports(case: Case, own: MapsSettings, maps: Mapping[str, Maps], region: Region | None) -> Exports:
    """The exports of the page; files are made when they are asked for."""
    if not maps:
        return Exports()
    photo = services.image(case).rgb
    return Exports(
        python=python_maps(case, [*maps], shown_explainers(case, own)),
        files={
            "HTML, interactive": File("maps.html", lambda: maps_html(case, maps, photo)),
            "CSV, a row a patch": File("maps.csv", lambda: to_csv(maps_table(case, maps))),
            "NPZ, all arrays": File("maps.npz", lambda: maps_npz(case, maps, region)),
            "JSON, settings and measures": File("maps.json", lambda: maps_json(case, own, maps, region)),
        },
    )


def shown_explainers(case: Case, own: MapsSettings) -> list[str]:
    """The chosen explainers that have a meaning for the model."""
    usable = usable_explainers(services.model(case).tower)
    return [name for name in own.explainers if name in usable]


def maps_table(case: Case, maps: Mapping[str, Maps]) -> pd.DataFrame:
    """One row per method, prompt and patch: method, prompt, row, column, value."""
    frames = []
    for name, found in maps.items():
        rows, columns, texts = np.indices(found.patches.shape)
        frame = pd.DataFrame({"row": rows.ravel(), "column": columns.ravel(), "value": found.patches.ravel()})
        frame.insert(0, "prompt", np.array(case.prompts, dtype=object)[texts.ravel()])
        frame.insert(0, "method", name)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def maps_npz(case: Case, maps: Mapping[str, Maps], region: Region | None) -> bytes:
    """Per method the maps (gh, gw, t) and the image's cosines (t,); the prompts; the region where there is one."""
    arrays = {name: found.patches for name, found in maps.items()}
    arrays |= {f"{name}_cls": found.cls for name, found in maps.items()}
    arrays["prompts"] = np.array(case.prompts)
    if region is not None:
        arrays |= {"foreground": region.foreground, "background": region.background}
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def maps_json(case: Case, own: MapsSettings, maps: Mapping[str, Maps], region: Region | None) -> bytes:
    """Every setting, and per method and prompt the mean, and contrast and flip AUC where there is a region."""
    measures = []
    for name, found in maps.items():
        for index, prompt in enumerate(case.prompts):
            values = found.patches[:, :, index]
            row = {"method": name, "prompt": prompt, "image": float(found.cls[index]), "mean": float(values.mean())}
            if region is not None:
                row |= {"contrast": contrast(values, region), "flip_auc": flip_auc(values, region)}
            measures.append(row)
    methods = {name: asdict(found.method) for name, found in maps.items()}
    content = {"case": asdict(case), "settings": asdict(own), "methods": methods}
    content |= {"unit": next(iter(maps.values())).unit, "measures": measures}
    return json.dumps(content, indent=2, ensure_ascii=False).encode()


def maps_html(case: Case, maps: Mapping[str, Maps], photo: np.ndarray) -> bytes:
    """The grid as an interactive page that needs nothing else."""
    values = np.stack([found.patches for found in maps.values()])  # (m, gh, gw, t)
    names = [method_title(name) for name in maps]
    unit = next(iter(maps.values())).unit
    figure = plot_maps(np.moveaxis(values, -1, 0), case.prompts, names, photo, unit)  # (t, m, gh, gw)
    return figure.to_html(include_plotlyjs=True).encode()
