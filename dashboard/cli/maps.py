"""`clip-theatre maps`: pictures and numbers of many methods for many images."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dashboard.cli import options
from dashboard.cli.console import FAILED, bar, interrupt_note, one_line, say, say_failures, usage_errors

if TYPE_CHECKING:
    from analysis.refinement import Refinement
    from dashboard.cli.image_paths import Failure, ImageSource
    from dashboard.cli.map_files import Request
    from surgery import Model


def draw_maps(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...",
            help="Files, folders (all images in them), and samples: toy-0 to toy-11, china, flower.",
        ),
    ],
    text: options.Texts,
    method: options.MethodNames = None,
    explainer: Annotated[
        list[str] | None,
        typer.Option(
            "--explainer",
            help="chefer, rollout, grad_eclip, gradcam, legrad ..., repeatable: relevance in its own picture, each "
            "map on its own scale. --method takes these names as well.",
            rich_help_panel=options.IMAGE_PANEL,
        ),
    ] = None,
    refine: Annotated[
        str | None,
        typer.Option(
            "--refine",
            metavar="pamr|affinity|clusters",
            help="Refine the maps of methods: by similar pixels (PAMR; a value a pixel), by what patches attend to "
            "(TagCLIP), or to the mean of clusters (CLIPtrase). With numbers: pamr:steps=5,dilations=8|16.",
            rich_help_panel=options.IMAGE_PANEL,
        ),
    ] = None,
    size: options.Size = None,
    fit: options.Fit = "stretch",
    feature_surgery: Annotated[
        bool,
        typer.Option(
            "--feature-surgery",
            help="Remove what all prompts have in common; for a single prompt, what the empty text has.",
            rich_help_panel=options.IMAGE_PANEL,
        ),
    ] = False,
    templates: options.Templates = "none",
    model: options.ModelName = "toy",
    pretrained: options.Pretrained = None,
    random_weights: options.RandomWeights = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    out: options.Out = Path("out"),
    normalize: Annotated[
        bool,
        typer.Option(
            "--normalize",
            help="Draw every map from its own lowest to highest value. Hides sign and strength; the .npz keeps them.",
            rich_help_panel="Output",
        ),
    ] = False,
) -> None:
    """Draw similarity maps of prompts by many methods, side by side on one scale.

    For each image: [bold]<name>_maps.png[/bold], prompts x methods over the photograph; [bold].npz[/bold], every map as
    float32 (methods, prompts, rows, columns); [bold].json[/bold], every setting and the numbers of each map in short.

    [bold]Examples[/bold]

      clip-theatre maps toy-3 --text "a green ring, a blue cross, snow"

      clip-theatre maps photos/ --text person --text bench --model ViT-B-16 --pretrained openai --feature-surgery

      clip-theatre maps china --text "a pagoda" --method clip --method clearclip:alpha=4 --size 224

      clip-theatre maps toy-3 --text "a green ring" --method clip --method grad_eclip --explainer legrad

      clip-theatre maps toy-3 --text "a green ring" --method naclip --refine pamr
    """
    started = time.perf_counter()
    written: list[str] = []
    with interrupt_note(lambda: _summary(written, out)):
        with bar("Starting"):
            from dashboard.cli.image_paths import find_images, foreign_to_toy

            wanted_size = options.parse_size(size)
            sources, failures = find_images(images)
        if sources:
            with bar("Starting"):
                prompts = options.split_texts(text)
                options.check_templates(templates)
            loaded = options.load_chosen(model, pretrained, random_weights, device, precision)
            request = _prepare(
                loaded, prompts, templates, method or [], explainer or [], feature_surgery, wanted_size, fit, refine
            )
            options.announce_limits(model, prompts, foreign_to_toy(sources))
            failures += _run(request, sources, out, normalize, written)
    say_failures(failures)
    say(f"{_summary(written, out)} {len(failures)} failed. {time.perf_counter() - started:.1f} s")
    if failures:
        raise typer.Exit(FAILED)


def _summary(written: list[str], out: Path) -> str:
    if not written:
        return "Nothing was written."
    where = f"{out / written[0]}_maps.png" if len(written) == 1 else f"{out}/*_maps.png"
    return f"{len(written)} image{'s' * (len(written) > 1)} done: {where}, .npz, .json."


def _prepare(
    model: "Model",
    prompts: tuple[str, ...],
    templates: str,
    methods: list[str],
    explainers: list[str],
    surgery: bool,
    size: int | tuple[int, int] | None,
    fit: str,
    refine: str | None,
) -> "Request":
    """Everything that is the same for all images, checked before the first one."""
    from dashboard.cli.explained import choose_explainers
    from dashboard.cli.map_files import Request

    explained = choose_explainers(model, [*methods, *explainers], explainers)
    dense = [name for name in methods if name.strip() not in explained]
    chosen = options.choose_methods(model.tower, dense) if dense or not methods else {}
    options.check_size(model, size, fit)
    refinement = _refinement(model, refine)
    weights = options.describe_weights(model)
    cuts = options.announce_cuts(model, prompts, templates)
    text = options.encode_prompts(model, prompts, templates)
    redundant = model.encode_text([""], templates) if surgery and len(prompts) == 1 else None
    return Request(
        model, weights, chosen, explained, prompts, cuts, templates, text, redundant, surgery, size, fit, refinement
    )


def _refinement(model: "Model", text: str | None) -> "Refinement | None":
    """How maps are refined; an unknown way, or one without a meaning for the tower, is a wrong command."""
    from analysis.refinement import check_refinement, parse_refinement

    if text is None:
        return None
    with usage_errors():
        found = parse_refinement(text)
        check_refinement(found.kind, model.tower)
    return found


def _run(
    request: "Request", sources: "list[ImageSource]", out: Path, minmax: bool, written: list[str]
) -> "list[Failure]":
    """One image after the other; one that cannot be used does not stop the others."""
    from dashboard.cli.image_paths import Failure, claim_stems
    from dashboard.cli.map_files import compute_maps, write_maps
    from data.store import write_together

    failures = []
    out.mkdir(parents=True, exist_ok=True)  # where that cannot be, no image needs to be tried
    with bar("Images", total=len(sources)) as advance:
        for done, (source, stem) in enumerate(claim_stems(sources, out, "maps.png"), start=1):
            try:
                image = source.load()
                options.announce_reduced(image)
                found = compute_maps(request, image)
                with write_together(out) as folder:
                    write_maps(folder, stem, request, image, found, minmax)
            except (OSError, ValueError, RuntimeError, MemoryError) as error:
                failures.append(Failure(source.name, one_line(error)))
            else:
                written.append(stem)
            advance(done)
    return failures
