"""A diagnosis as files: JSON, two tables, an interactive page and a picture."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from analysis.flip_tables import component_table, method_table
from analysis.flips import FlipReport
from dashboard.cli.options import title_of
from dashboard.cli.provenance import describe_image, describe_model, describe_versions, settings_line
from dashboard.figure_page import figures_html
from dashboard.figure_png import DPI, draw_figure, save_png
from dashboard.figures import plot_maps, shared_limit
from dashboard.figures.flip import plot_ablation, plot_heads, plot_lens, plot_methods, plot_waterfall
from dashboard.figures.theme import REGION_COLOUR
from dashboard.overview import lay_over
from data.geometry import Framing
from data.images import LoadedImage
from data.store import write_bytes, write_json, write_table
from surgery import Model

PICTURE_IN = (18.5, 8.2)
MAP_SIDE_PX = 360
FINE = 8  # drawn cells a patch and side, so that an outline follows the patches


def write_diagnosis(
    folder: Path,
    stem: str,
    model: Model,
    weights: str,
    image: LoadedImage,
    framing: Framing,
    report: FlipReport,
    templates: str,
) -> list[str]:
    """Writes `<stem>_diagnosis` .json, .html, .png and the tables `_components.csv`, `_methods.csv`.

    Returns:
        The names of the files.
    """
    settings = settings_line(model, weights, framing.input_px, templates, framing.fit)
    seen = image.framed(framing, model.fill_rgb)
    title = f'{image.name}: "{report.text}"'
    figures = _figures(report)
    methods = [title_of(name) for name in report.readings]
    values = np.stack([found.values for found in report.readings.values()])[None]  # (1, methods, gh, gw)
    page = figures_html(
        title, report.summary, settings, [plot_maps(values, [report.text], methods, seen.rgb), *figures]
    )
    names = [f"{stem}_diagnosis{end}" for end in (".png", ".html", ".json", "_methods.csv", "_components.csv")]
    write_bytes(folder / names[0], diagnosis_png(seen, report, title, settings, figures))
    write_bytes(folder / names[1], page)
    write_table(folder / names[3], method_table(report))
    write_table(folder / names[4], component_table(report))
    write_json(folder / names[2], _content(model, weights, image, framing, report, templates))
    return names


def _content(
    model: Model, weights: str, image: LoadedImage, framing: Framing, report: FlipReport, templates: str
) -> dict[str, Any]:
    """Every setting and number but the maps."""
    components = component_table(report).astype(object)
    return {
        "image": describe_image(image),
        "model": describe_model(model, weights, framing.input_px),
        "framing": framing,
        "text": report.text,
        "templates": templates,
        "region": {"name": report.region.name, "patches": _draw_region(report), "legend": "# foreground, . background"},
        "summary": report.summary,
        "methods": method_table(report).set_index("method").to_dict("index"),
        "lens_contrast": report.lens_contrast,
        "turning_layer": report.turning_layer,
        "culprits": [{"component": culprit.label, "blame": culprit.blame} for culprit in report.culprits],
        "components": components.where(components.notna(), None).to_dict("records"),
        "versions": describe_versions(),
    }


def _draw_region(report: FlipReport) -> list[str]:
    """A text row of the grid each; a patch that is neither is blank."""
    marks = np.where(report.region.foreground, "#", np.where(report.region.background, ".", " "))
    return ["".join(row) for row in marks]


def _figures(report: FlipReport) -> list[go.Figure]:
    figures = [plot_methods(report), plot_lens(report), plot_waterfall(report), plot_heads(report)]
    return [*figures, plot_ablation(report)] if report.interventions else figures


def diagnosis_png(
    image: LoadedImage, report: FlipReport, title: str, settings: str, figures: Sequence[go.Figure]
) -> bytes:
    """The region, the CLIP map and the map of the method that does best, over the figures of the report.

    Args:
        image: the photograph.
        report: what is drawn.
        title, settings: first and last line.
        figures: of `dashboard.figures`, at most five.
    """
    page = Figure(figsize=PICTURE_IN, dpi=DPI, layout="constrained")
    cells = page.subplots(2, 4).ravel()
    best = max(report.readings, key=lambda name: report.readings[name].flip_auc)
    shown = {name: report.readings[name].values for name in dict.fromkeys(("clip", best))}
    limit = shared_limit(list(shown.values()))
    small = _thumbnail(image.rgb)
    inside = int(report.region.foreground.sum())
    _draw_map(cells[0], small, report, f"the region: {inside} of {report.region.foreground.size} patches")
    for axes, (name, values) in zip(cells[1:], shown.items(), strict=False):
        _draw_map(
            axes, lay_over(_grey(small), values.astype(np.float64), limit), report, f"{title_of(name)}, ±{limit:g}"
        )
    free = [axes for axes in cells if not axes.has_data()]
    for axes, figure in zip(free, figures, strict=False):
        draw_figure(axes, figure)
    for axes in free[len(figures) :]:
        axes.set_axis_off()
    text = textwrap.fill(report.summary, 210)
    page.suptitle(f"{title}\n{text}", x=0.008, ha="left", fontsize=9, parse_math=False)
    page.supxlabel(settings, x=0.008, ha="left", fontsize=7, color="0.35", parse_math=False)
    return save_png(page)


def _thumbnail(rgb: np.ndarray) -> np.ndarray:
    """The photograph in [0, 1], longer side `MAP_SIDE_PX`."""
    scale = MAP_SIDE_PX / max(rgb.shape[:2])
    size = tuple(max(1, round(side * scale)) for side in rgb.shape[1::-1])
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS)) / 255


def _grey(picture: np.ndarray) -> np.ndarray:
    return (picture @ (0.299, 0.587, 0.114))[..., None].repeat(3, axis=-1)  # (h, w, 3), luma of ITU-R 601


def _draw_map(axes: Axes, picture: np.ndarray, report: FlipReport, title: str) -> None:
    """A picture with the outline of the foreground patches."""
    height, width = picture.shape[:2]
    axes.imshow(picture, extent=(0, width, height, 0))
    inside = np.pad(np.kron(report.region.foreground, np.ones((FINE, FINE))), 1)  # closed also at the edge
    x, y = (
        side * (np.arange(-0.5, n - 1)) / (n - 2) for side, n in zip((width, height), inside.shape[::-1], strict=True)
    )
    axes.contour(x, y, inside, levels=[0.5], colors=REGION_COLOUR, linewidths=1.5)
    axes.set_title(title, fontsize=10, loc="left", parse_math=False)
    axes.set_axis_off()
