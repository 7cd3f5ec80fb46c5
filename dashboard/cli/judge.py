"""`clip-theatre judge`: which method or explainer explains one prompt on one image best."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from dashboard.cli import options
from dashboard.cli.console import UsageError, bar, interrupt_note, say

if TYPE_CHECKING:
    import pandas as pd

    from analysis import Judgement, Region

WIDTH = 140


def judge_image(
    image: options.OneImage,
    text: options.OnePrompt,
    mask: options.MaskFile = None,
    class_id: options.ClassId = None,
    box: options.RegionBox = None,
    method: options.MethodNames = None,
    explainer: Annotated[
        list[str] | None,
        typer.Option(
            "--explainer",
            help="chefer, rollout, grad_eclip ..., repeatable; default: all that have a meaning for the model.",
            rich_help_panel=options.IMAGE_PANEL,
        ),
    ] = None,
    steps: Annotated[
        int,
        typer.Option(
            "--steps",
            min=0,
            help="Points of the insertion and deletion curves, two passes each a map; 0 leaves them out.",
            rich_help_panel=options.IMAGE_PANEL,
        ),
    ] = 28,
    size: options.Size = None,
    fit: options.Fit = "stretch",
    templates: options.Templates = "none",
    model: options.ModelName = "toy",
    pretrained: options.Pretrained = None,
    random_weights: options.RandomWeights = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    out: options.Out = Path("out"),
) -> None:
    """Judge the map of every method and explainer by the same figures, beside a random and a centred map.

    Score contrast, flip AUC and pointing game say whether the object lights up, insertion and deletion whether the
    cosine follows the map. None of them is the truth: holes in an image are unlike what a model was trained on, and
    photographs have their subject in the centre. Without a region, insertion and deletion only. Writes
    [bold]<name>_explanations.csv[/bold] and [bold].json[/bold], the curves in it.

    [bold]Examples[/bold]

      clip-theatre judge toy-3 --text "a green ring"

      clip-theatre judge street.jpg --text bench --box 60,90,420,420 --model ViT-B-16 --pretrained openai --steps 10
    """
    with interrupt_note(lambda: "nothing was written."):
        options.check_prompt(text)
        with bar("Starting"):
            from analysis import judge_explanations
            from analysis.judging import iterate_best
            from dashboard.cli.explained import choose_explainers
            from dashboard.cli.image_paths import claim_stems, find_image, foreign_to_toy

            source, wanted = find_image(image), options.parse_size(size)
            photo = source.load()
            options.check_templates(templates)
        loaded = options.load_chosen(model, pretrained, random_weights, device, precision)
        methods = options.choose_methods(loaded.tower, method or [])
        explainers = choose_explainers(loaded, explainer, explainer) if explainer else None
        options.announce_cuts(loaded, [text], templates)
        options.check_size(loaded, wanted, fit)
        framing = loaded.framing(photo.size_px, wanted, fit)
        region = _region(image, text, mask, class_id, box, framing, loaded.tower.grid_for(framing.input_px))
        options.announce_reduced(photo)
        options.announce_limits(model, [text], foreign_to_toy([source]))
        with bar("Judging"):
            pixels = loaded.preprocess([photo.to_pil()], size=wanted, fit=fit)
            feature = loaded.encode_text([text], templates)
            found = judge_explanations(
                loaded, pixels, feature, region, methods=methods, explainers=explainers, steps=steps
            )
        table = found.table()
        stem = next(claim_stems([source], out, "explanations.csv"))[1]
        settings = {
            "image": source.name,
            "text": text,
            "templates": templates,
            "weights": options.describe_weights(loaded),
        }
        _write(out, stem, table, found, settings)
    _print(table, dict(iterate_best(table)))
    say(f"Wrote {out / stem}_explanations.csv and .json.")


def _region(
    image: str, text: str, mask: Path | None, class_id: int | None, box: str | None, *place: Any
) -> "Region | None":
    """Where the prompt is, None where nobody said."""
    from dashboard.cli.regions import chosen_region

    try:
        return chosen_region(image, text, mask, class_id, box, *place)
    except UsageError:
        if mask is not None or box is not None or class_id is not None:
            raise
    say("Note: without --mask or --box nobody says where the prompt is, so insertion and deletion only")
    return None


def _write(out: Path, stem: str, table: "pd.DataFrame", found: "Judgement", settings: dict[str, str]) -> None:
    from dashboard.cli.provenance import describe_versions
    from data.store import write_json, write_table, write_together

    curves = {
        judged.name: {"fractions": c.fractions, "insertion": c.insertion, "deletion": c.deletion}
        for judged in found.maps
        if (c := judged.curves) is not None
    }
    content = settings | {"model": found.model, "cosine": found.cosine, "explanations": table.to_dict("records")}
    with write_together(out) as folder:
        write_table(folder / f"{stem}_explanations.csv", table)
        write_json(folder / f"{stem}_explanations.json", content | {"curves": curves, "versions": describe_versions()})


def _print(table: "pd.DataFrame", best: dict[str, str]) -> None:
    """The table on stdout, the best by each figure in bold."""
    from analysis.judging import FIGURES

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    shown = Table(box=None, padding=(0, 3, 0, 0), header_style="bold")
    for title in ("", "explanation", *(name.replace("_", " ") for name in FIGURES)):
        shown.add_column(title, justify="right" if title and title != "explanation" else "left")
    group = ""
    for row in table.to_dict("records"):
        title = f"{row['title']} (constant)" if row["constant"] else row["title"]
        cells = [_cell(figure, row[figure], best.get(figure) == row["name"]) for figure in FIGURES]
        shown.add_row(row["group"] if row["group"] != group else "", title, *cells)
        group = row["group"]
    console.print(shown)


def _cell(figure: str, value: float, best: bool) -> str:
    from analysis.numerals import auc, number

    text = auc(value) if figure == "flip_auc" and value == value else number(value)
    return f"[bold]{text}[/bold]" if best else text
