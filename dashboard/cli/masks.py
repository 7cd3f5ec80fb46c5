"""`clip-theatre masks`: from a text to points to a mask, for one or many images."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dashboard.cli import options
from dashboard.cli.console import FAILED, UsageError, bar, interrupt_note, one_line, say, say_failures, usage_errors

if TYPE_CHECKING:
    from analysis.segment_anything import SegmentAnything
    from dashboard.cli.image_paths import Failure, ImageSource
    from dashboard.cli.mask_files import MaskRequest
    from surgery import Model

MASK_PANEL = "Masks"


def draw_masks(
    images: Annotated[list[str], typer.Argument(metavar="IMAGES...", help="Files, folders, and samples.")],
    text: options.Texts,
    method: Annotated[
        str,
        typer.Option("--method", help="Of the map that points are taken from.", rich_help_panel=options.IMAGE_PANEL),
    ] = "clip_surgery",
    threshold: Annotated[
        float,
        typer.Option(
            "--threshold",
            help="Cells of the map in [0, 1] at or above it become points; those that do not touch are objects apart.",
            rich_help_panel=MASK_PANEL,
        ),
    ] = 0.8,
    floor: Annotated[
        float | None,
        typer.Option(
            "--floor",
            help="Raw values below it become it before the map is brought to [0, 1].",
            rich_help_panel=MASK_PANEL,
        ),
    ] = None,
    sam: Annotated[
        str | None,
        typer.Option(
            "--sam",
            help="A Segment Anything model: a folder saved by transformers, or a repository such as "
            "facebook/sam-vit-base or facebook/sam2.1-hiera-tiny. Without it, a random walker from the points.",
            rich_help_panel=MASK_PANEL,
        ),
    ] = None,
    download: Annotated[
        bool,
        typer.Option("--download", help="Let --sam fetch what is not in the cache.", rich_help_panel=MASK_PANEL),
    ] = False,
    box: Annotated[
        bool,
        typer.Option("--box", help="Give the box around the object's cells as well.", rich_help_panel=MASK_PANEL),
    ] = False,
    size: options.Size = None,
    templates: options.Templates = "none",
    model: options.ModelName = "toy",
    pretrained: options.Pretrained = None,
    random_weights: options.RandomWeights = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    out: options.Out = Path("out"),
) -> None:
    """Turn texts into masks: map, points, and Segment Anything or a random walker.

    Maps have feature surgery. For each image: [bold]<name>_masks.png[/bold], the masks on the photograph with their
    points; [bold]<name>_mask_1.png[/bold] and so on, each mask in black and white; [bold]<name>_masks.json[/bold],
    scores and COCO run lengths. Where a sample knows the object that a text names, its IoU is said.

    [bold]Examples[/bold]

      clip-theatre masks toy-3 --text "a green ring, a blue cross, snow"

      clip-theatre masks dog.jpg --text "a dog" --model ViT-B-16 --pretrained openai --sam facebook/sam-vit-base
    """
    started = time.perf_counter()
    written: list[str] = []
    with interrupt_note(lambda: f"{len(written)} images done."):
        from dashboard.cli.image_paths import find_images

        sources, failures = find_images(images)
        if not 0 < threshold <= 1:
            raise UsageError(f"Expected --threshold to be above 0 and at most 1, but got {threshold}")
        if sources:
            prompts = options.split_texts(text)
            options.check_templates(templates)
            segmenter = _load_sam(sam, device, download)
            loaded = options.load_chosen(model, pretrained, random_weights, device, precision)
            wanted = options.parse_size(size)
            request = _prepare(loaded, prompts, templates, method, wanted, threshold, floor, box, segmenter)
            failures += _run(request, sources, out, written)
    say_failures(failures)
    where = f": {out}/*_masks.png, _mask_N.png, _masks.json" if written else ""
    say(f"{len(written)} done{where}. {len(failures)} failed. {time.perf_counter() - started:.1f} s")
    if failures:
        raise typer.Exit(FAILED)


def _load_sam(name: str | None, device: str, download: bool) -> "SegmentAnything | None":
    if name is None:
        return None
    from analysis.segment_anything import load_segment_anything
    from surgery.models import choose_device

    with usage_errors(), bar("Loading Segment Anything"):
        return load_segment_anything(name, choose_device(device), download=download)


def _prepare(
    loaded: "Model",
    prompts: tuple[str, ...],
    templates: str,
    method: str,
    size: int | tuple[int, int] | None,
    threshold: float,
    floor: float | None,
    box: bool,
    segmenter: "SegmentAnything | None",
) -> "MaskRequest":
    """Everything that is the same for all images, checked before the first one."""
    from dashboard.cli.mask_files import MaskRequest

    chosen = next(iter(options.choose_methods(loaded.tower, [method]).values()))
    options.check_size(loaded, size, "stretch")
    options.announce_cuts(loaded, prompts, templates)
    encoded = options.encode_prompts(loaded, prompts, templates)
    redundant = loaded.encode_text([""], templates) if len(prompts) == 1 else None
    return MaskRequest(loaded, chosen, prompts, encoded, redundant, size, threshold, floor, box, segmenter)


def _run(request: "MaskRequest", sources: "list[ImageSource]", out: Path, written: list[str]) -> "list[Failure]":
    from dashboard.cli.image_paths import Failure, claim_stems
    from dashboard.cli.mask_files import compute_masks, say_ious, write_masks
    from data.store import write_together

    failures = []
    with bar("Images", total=len(sources)) as advance:
        for done, (source, stem) in enumerate(claim_stems(sources, out, "masks.png"), start=1):
            try:
                image = source.load()
                options.announce_reduced(image)
                found = compute_masks(request, image)
                with write_together(out) as folder:
                    write_masks(folder, stem, request, image, found)
                say_ious(source, found)
            except (OSError, ValueError, RuntimeError, MemoryError) as error:
                failures.append(Failure(source.name, one_line(error)))
            else:
                written.append(stem)
            advance(done)
    return failures
