"""`clip-theatre sweep`: how contrast depends on kind, blocks, residual, alpha and MLP, over many images."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dashboard.cli import options
from dashboard.cli.console import FAILED, INTERRUPTED, bar, interrupt_note, say, usage_errors

if TYPE_CHECKING:
    from analysis.sweep import SweepGrid
    from dashboard.cli.sweep_files import SweepRun
    from data.datasets import Dataset

GRID_PANEL = "Points"
DATA_PANEL = "Images"
SKIPS_SHOWN = 5
MAX_NUMBERS = 1000
TOY_SCENES = 100
TOY_SEED = 20_000  # scenes that neither the training nor the samples contain


def sweep_images(
    data: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|toy", help="A folder with images/, masks/ and classes.txt; or toy, scenes of the toy."
        ),
    ],
    kinds: Annotated[
        str,
        typer.Option(
            "--kinds", help="Kinds of attention: qk, vv, qq, kk, identity, gem, qq+kk, ...", rich_help_panel=GRID_PANEL
        ),
    ] = "qk,vv,qq,kk",
    alphas: Annotated[
        str,
        typer.Option(
            "--alphas",
            help="Factors of the attention output: 0.5,1,2, or first:last:step. Residual 0 is always the last point.",
            rich_help_panel=GRID_PANEL,
        ),
    ] = "0.25:5:0.25",
    blocks: Annotated[
        str, typer.Option("--blocks", help="Numbers of last blocks, such as 1,6.", rich_help_panel=GRID_PANEL)
    ] = "1",
    residuals: Annotated[
        str,
        typer.Option("--residuals", help="Factors of the residual; the figure draws 1.", rich_help_panel=GRID_PANEL),
    ] = "1",
    mlp: Annotated[
        str, typer.Option("--mlp", help="Whether the MLP is added: no, yes, or no,yes.", rich_help_panel=GRID_PANEL)
    ] = "no",
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", min=1, help=f"First N images only; toy: {TOY_SCENES}.", rich_help_panel=DATA_PANEL
        ),
    ] = None,
    masks: Annotated[
        str, typer.Option("--masks", help="Which masks of the folder, such as masks_voc20.", rich_help_panel=DATA_PANEL)
    ] = "masks",
    size: options.Size = None,
    templates: options.Templates = "none",
    model: options.ModelName = "toy",
    pretrained: options.Pretrained = None,
    random_weights: options.RandomWeights = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    out: options.Out = Path("out"),
) -> None:
    """Measure every combination of kinds, alphas, blocks, ... on every image and class, from one pass an image.

    Writes [bold]<name>_sweep.parquet[/bold], a row an image, class and point: contrast, score contrast, flip AUC, IoU;
    .html (interactive, offline) and .png, contrast against alpha, a line a kind; .json, the settings. Ctrl-C stops
    early and keeps the images that are done.

    [bold]Examples[/bold]

      clip-theatre sweep toy --limit 50

      clip-theatre sweep voc/ --kinds qq,kk,qq+kk --alphas 1,2,4 --blocks 1,6 --model ViT-B-16 --pretrained openai
    """
    started = time.perf_counter()
    with interrupt_note(lambda: "nothing was written."):
        with bar("Starting"):
            from dashboard.cli.sweep_files import run_sweep, write_sweep
            from data.store import write_together
        grid = make_grid(kinds, alphas, blocks, residuals, mlp)
        options.check_templates(templates)
        size_px, dataset = options.parse_size(size), open_dataset(data, masks, limit)
        loaded = options.load_chosen(model, pretrained, random_weights, device, precision)
        options.check_size(loaded, size_px, "stretch")
        with usage_errors():
            grid.methods(loaded.tower)
        _announce_limits(model, dataset, limit)
        run = run_sweep(loaded, dataset, limit or len(dataset), grid, templates, size_px)
        _report_skips(run)
        if not run.rows:
            raise ValueError(f"Expected {data} to hold an image with a class that fills a patch, but got none")
        weights = options.describe_weights(loaded)
        with write_together(out) as folder:
            names = write_sweep(folder, dataset, loaded, weights, run, masks)
    say(f"Wrote {', '.join(str(out / name) for name in names)}.")
    say(f"{run.images} images, {len(run.rows)} rows. {time.perf_counter() - started:.1f} s")
    if run.interrupted:
        say(f"Interrupted: only the first {run.images} images are in the files.")
        raise typer.Exit(INTERRUPTED)
    if any(skip.text is None for skip in run.skipped):
        raise typer.Exit(FAILED)


def make_grid(kinds: str, alphas: str, blocks: str, residuals: str, mlp: str) -> "SweepGrid":
    """The points that the options name.

    Raises:
        UsageError: one of them cannot be read or is out of range.
    """
    from analysis.sweep import SweepGrid

    with usage_errors():
        return SweepGrid(
            kinds=tuple(part.strip() for part in kinds.split(",")),
            blocks=parse_numbers(blocks, "--blocks", whole=True),
            residual=parse_numbers(residuals, "--residuals"),
            alpha=parse_numbers(alphas, "--alphas"),
            mlp=_parse_mlp(mlp),
        )


def parse_numbers(text: str, name: str, whole: bool = False) -> tuple[float, ...]:
    """Numbers from "0.5,1,2", or from "first:last:step" with both ends.

    Raises:
        ValueError: they are none, or more than `MAX_NUMBERS`.

    >>> parse_numbers("0.25:1:0.25", "--alphas")
    (0.25, 0.5, 0.75, 1.0)
    """
    try:
        if ":" in text:
            first, last, step = (float(part) for part in text.split(":"))
            count = int((last - first) / step + 1e-9) + 1 if step > 0 and last >= first else 0
            if not 1 <= count <= MAX_NUMBERS:
                raise ValueError(f"{count} numbers")
            numbers = [round(first + step * index, 10) for index in range(count)]
        else:
            numbers = [float(part) for part in text.split(",")]
        if whole and any(number != int(number) for number in numbers):
            raise ValueError("not whole")
    except (ValueError, OverflowError, ZeroDivisionError) as error:
        kind = "whole numbers" if whole else "numbers"
        raise ValueError(f"Expected {name} to be {kind} such as 1,6 or first:last:step, but got {text!r}") from error
    return tuple(int(number) if whole else number for number in numbers)


def _parse_mlp(text: str) -> tuple[bool, ...]:
    words = [part.strip().lower() for part in text.split(",")]
    if not set(words) <= {"yes", "no"}:
        raise ValueError(f"Expected --mlp to be no, yes or no,yes, but got {text!r}")
    return tuple(word == "yes" for word in words)


def open_dataset(data: str, masks: str, limit: int | None) -> "Dataset":
    """Toy scenes, or a folder of images with masks.

    Raises:
        UsageError: a folder without what is needed, or a wrong name of masks.
        OSError: no such folder.
    """
    from data.datasets import SegmentationFolder, ToyScenes

    if data == "toy":
        return ToyScenes(limit or TOY_SCENES, TOY_SEED)
    with usage_errors():
        return SegmentationFolder(data, masks)


def _announce_limits(model: str, dataset: "Dataset", limit: int | None) -> None:
    """Says what of a folder the toy, where it is the model, has not seen."""
    from data.datasets import SegmentationFolder, is_background

    if isinstance(dataset, SegmentationFolder):
        prompts = [name for id, name in dataset.classes.items() if not is_background(id, name)]
        options.announce_limits(model, prompts, [path.name for path in dataset.image_paths[:limit]])


def _report_skips(run: "SweepRun") -> None:
    """The first few of what was left out; all are in the .json."""
    for skip in run.skipped[:SKIPS_SHOWN]:
        say(f"Skipped: {skip.image}{'' if skip.text is None else f', {skip.text}'}: {skip.reason}")
    if len(run.skipped) > SKIPS_SHOWN:
        say(f"Skipped: {len(run.skipped) - SKIPS_SHOWN} more, listed in the .json")
