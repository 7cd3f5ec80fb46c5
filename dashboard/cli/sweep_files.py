"""A sweep over a data set, and the files that hold it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from analysis.sweep import Skipped, SweepGrid, SweepRow, alpha_axis, iterate_sweep, summarise, sweep_table
from dashboard.cli.console import bar
from dashboard.cli.provenance import describe_model, describe_versions, settings_line
from dashboard.figure_page import figures_html
from dashboard.figure_png import figure_png
from dashboard.figures.layers import plot_alpha_sweep
from data.datasets import Dataset, Sample
from data.store import write_bytes, write_json, write_table
from surgery import Model


@dataclass(frozen=True, slots=True)
class SweepRun:
    """What was measured.

    Attributes:
        rows: of all images that are done.
        skipped: images and classes that were left out.
        images: number of images looked at.
        interrupted: whether Ctrl-C ended it.
        grid, templates, size_px: what was asked for.
    """

    rows: tuple[SweepRow, ...]
    skipped: tuple[Skipped, ...]
    images: int
    interrupted: bool
    grid: SweepGrid
    templates: str
    size_px: tuple[int, int]


def run_sweep(
    model: Model, dataset: Dataset, count: int, grid: SweepGrid, templates: str, size: int | tuple[int, int] | None
) -> SweepRun:
    """Measures the first `count` images; Ctrl-C ends it and keeps the images that are done.

    Raises:
        KeyboardInterrupt: none was done yet.
    """
    rows: list[SweepRow] = []
    skipped: list[Skipped] = []
    complete, images, interrupted = 0, 0, False
    count = min(count, len(dataset))

    def samples() -> Iterator[Sample]:
        nonlocal complete, images
        for images in range(count):
            complete = len(rows)  # the next image is asked for when the last one is done
            advance(images)
            yield dataset[images]
        complete, images = len(rows), count

    with bar("Images", total=count) as advance:
        try:
            for row in iterate_sweep(model, samples(), grid, templates=templates, size=size, on_skip=skipped.append):
                rows.append(row)
        except KeyboardInterrupt:
            if not complete:
                raise
            interrupted = True
    size_px = model.framing((1, 1), size).input_px
    return SweepRun(tuple(rows[:complete]), tuple(skipped), images, interrupted, grid, templates, size_px)


def write_sweep(folder: Path, dataset: Dataset, model: Model, weights: str, run: SweepRun, masks: str) -> list[str]:
    """Writes `<data set>_sweep` .parquet, .json and, where there is a line over alpha to draw, .html and .png.

    Returns:
        The names of the files.
    """
    name = f"{dataset.name}_sweep"
    table = sweep_table(run.rows)
    written = [f"{name}.parquet"]
    write_table(folder / written[0], table)
    if not alpha_axis(table).empty:
        settings = settings_line(model, weights, run.size_px, run.templates)
        title = f"Contrast against alpha: {dataset.name}, {run.images} images"
        text = "Mean over images and classes; the band is the 95 % bootstrap interval over images."
        figure = plot_alpha_sweep(summarise(table))
        write_bytes(folder / f"{name}.html", figures_html(title, text, settings, [figure]))
        figure.update_layout(title={"text": f"{title}<br>{settings}"})
        write_bytes(folder / f"{name}.png", figure_png(figure))
        written += [f"{name}.html", f"{name}.png"]
    content = {
        "data": {"name": dataset.name, "masks": masks, "images": run.images, "rows": len(run.rows)},
        "complete": not run.interrupted,
        "model": describe_model(model, weights, run.size_px),
        "templates": run.templates,
        "grid": run.grid,
        "skipped": run.skipped,
        "versions": describe_versions(),
    }
    write_json(folder / f"{name}.json", content)
    return [*written, f"{name}.json"]
