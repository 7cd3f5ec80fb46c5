"""`clip-theatre diagnose`: why the map of one prompt flips on one image."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from dashboard.cli import options
from dashboard.cli.console import bar, interrupt_note, say
from data.texts import printable

if TYPE_CHECKING:
    from analysis import FlipReport

NOT_REMOVED = "not removed"


def diagnose_image(
    image: options.OneImage,
    text: options.OnePrompt,
    mask: options.MaskFile = None,
    class_id: options.ClassId = None,
    box: options.RegionBox = None,
    method: options.MethodNames = None,
    size: options.Size = None,
    fit: options.Fit = "stretch",
    ablate: Annotated[
        bool,
        typer.Option(
            "--ablate/--no-ablate",
            help="Remove every attention and MLP in turn to check the blame, about half a pass each.",
            rich_help_panel=options.IMAGE_PANEL,
        ),
    ] = True,
    templates: options.Templates = "none",
    model: options.ModelName = "toy",
    pretrained: options.Pretrained = None,
    random_weights: options.RandomWeights = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    out: options.Out = Path("out"),
) -> None:
    """Say whether the map of a prompt is flipped, where its sign turns, what writes it, and what each method does.

    Prints the report and writes [bold]<name>_diagnosis[/bold] .json, .html (interactive, offline), .png, and two
    tables, _methods.csv and _components.csv: a row a component, aN the attention and mN the MLP of block N, counted
    from 0, aN.hK its head K. The blame of the rows with in_sum True adds up to the contrast of the CLIP map; the others
    are attentions as a whole, the sums of their heads and bias.

    [bold]Examples[/bold]

      clip-theatre diagnose toy-3 --text "a green ring"

      clip-theatre diagnose street.jpg --text bench --mask street.png --class 15 --model ViT-B-16 --pretrained openai

      clip-theatre diagnose china --text "a pagoda" --box 60,90,420,420 --size 224
    """
    started = time.perf_counter()
    with interrupt_note(lambda: "nothing was written."):
        options.check_prompt(text)
        with bar("Starting"):
            from dashboard.cli.image_paths import claim_stems, find_image, foreign_to_toy

            source, wanted = find_image(image), options.parse_size(size)
            photo = source.load()

            from analysis import diagnose
            from dashboard.cli.diagnosis_files import write_diagnosis
            from dashboard.cli.regions import chosen_region
            from data.store import write_together

            options.check_templates(templates)
        if "," in text:
            say(f"Note: {text!r} is taken as one prompt, commas included; for several, run diagnose once for each")
        loaded = options.load_chosen(model, pretrained, random_weights, device, precision)
        methods = options.choose_methods(loaded.tower, method or [])
        options.announce_cuts(loaded, [text], templates)
        options.check_size(loaded, wanted, fit)
        framing = loaded.framing(photo.size_px, wanted, fit)
        region = chosen_region(image, text, mask, class_id, box, framing, loaded.tower.grid_for(framing.input_px))
        options.announce_reduced(photo)
        options.announce_limits(model, [text], foreign_to_toy([source]))
        with bar("Diagnosing"):
            report = diagnose(
                loaded, photo.to_pil(), text, region, methods, templates=templates, size=wanted, fit=fit, ablate=ablate
            )
        weights = options.describe_weights(loaded)
        stem = next(claim_stems([source], out, "diagnosis.png"))[1]
        with write_together(out) as folder:
            names = write_diagnosis(folder, stem, loaded, weights, photo, framing, report, templates)
    _print(report)
    say(f"Wrote {out / names[0]} and {', '.join(name.removeprefix(stem) for name in names[1:])}.")
    say(f"{time.perf_counter() - started:.1f} s")


def _print(report: "FlipReport") -> None:
    """The summary and two tables on stdout."""
    from analysis.numerals import auc, signed

    console = Console(highlight=False)
    console.print(printable(report.summary), markup=False)
    console.print()
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="bold")
    for title in ("method", "contrast", "score contrast", "flip AUC"):
        table.add_column(title, justify="left" if title == "method" else "right")
    for name, found in report.readings.items():
        flipped = "[red]" if found.flip_auc < 0.5 else ""
        figures = (signed(found.contrast), f"{signed(100 * found.score_contrast)} %", f"{flipped}{auc(found.flip_auc)}")
        table.add_row(options.title_of(name), *figures)
    console.print(table)
    console.print()
    console.print(_culprits(report))
    console.print(_legend(report), style="dim", markup=False)


def _culprits(report: "FlipReport") -> Table:
    """The components that pull the contrast down most and, where any was removed, what removing them did."""
    from analysis.numerals import signed

    titles = ("culprit", "adds to the contrast", "removed, the contrast changes by")
    changes = {found.component: found.change for found in report.interventions}
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="bold")
    for title in titles if changes else titles[:2]:
        table.add_column(title, justify="left" if title == "culprit" else "right")
    for culprit in report.culprits:
        cells = [culprit.label, signed(culprit.blame)]
        if changes:
            change = changes.get(culprit.component)
            cells.append(NOT_REMOVED if change is None else signed(change))
        table.add_row(*cells)
    return table


def _legend(report: "FlipReport") -> str:
    """What the short names of components are, and why some were not removed."""
    lines = [
        "aN is the attention and mN the MLP of block N, counted from 0; aN.hK is head K of aN, aN.bias the bias of its "
        "output projection; embedding is patches and positions before block 0."
    ]
    removed = {found.component for found in report.interventions}
    if removed and any(culprit.component not in removed for culprit in report.culprits):
        lines.append(f"{NOT_REMOVED}: only whole attentions and MLPs are removed and the rest re-run, not their parts.")
    return "\n".join(lines)
