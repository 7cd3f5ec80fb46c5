"""`clip-theatre study`: any measure over any data set; stop at any time, and the same command goes on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dashboard.cli import options
from dashboard.cli.console import FAILED, bar, interrupt_note, say, usage_errors

if TYPE_CHECKING:
    import pandas as pd

    from analysis.studies import Progress, Study, StudyState

DATA_PANEL, RUN_PANEL = "What", "How"
PROBLEMS_SHOWN = 5
ROWS_SHOWN = 40

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of a study.", file_okay=False)]
Measure = Annotated[str | None, typer.Option("--measure", help="One measure of the study; default: all.")]

study = typer.Typer(no_args_is_help=True, help="Any measure over any data set, in a folder that survives being killed.")


@study.command("run")
def run_command(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="toy:N, a folder, or KIND:ROOT; clip-theatre datasets lists them.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", file_okay=False, help="Folder of the study.")],
    measures: Annotated[
        str,
        typer.Option(
            "--measures",
            help="Separated by commas, or all; clip-theatre study measures lists them.",
            rich_help_panel=DATA_PANEL,
        ),
    ] = "maps,layers,blame",
    methods: options.MethodNames = None,
    texts: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            "-t",
            help="What to look for, separated by commas; default: the classes present in each image.",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="First N images only.", rich_help_panel=DATA_PANEL)
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Of toy scenes and of the bootstrap.", rich_help_panel=DATA_PANEL)
    ] = 20_000,
    size: options.Size = None,
    templates: options.Templates = "none",
    model: options.ModelName = "toy",
    pretrained: options.Pretrained = None,
    random_weights: options.RandomWeights = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images a pass.", rich_help_panel=RUN_PANEL)] = 8,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            "-w",
            min=0,
            help="Processes that read images ahead; with --ray: actors.",
            rich_help_panel=RUN_PANEL,
        ),
    ] = 0,
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="ADDRESS|local", help="Compute on a Ray cluster.", rich_help_panel=RUN_PANEL),
    ] = None,
) -> None:
    """Measure, or go on measuring: what is done in the folder is not done again.

    [bold]Examples[/bold]

      clip-theatre study run toy:200 --out out/toy

      clip-theatre study run voc/ --model ViT-B-16 --pretrained openai --measures all --workers 4 --out out/voc
    """
    options.check_weights(model, pretrained, random_weights)
    weights = "random" if random_weights else pretrained
    with interrupt_note(lambda: "the parts that are done stay; the same command goes on."):
        with bar("Starting"), usage_errors():
            from analysis.studies import Study

            request = Study(
                model=model,
                pretrained=weights,
                data=data,
                methods=_methods(model, weights, device, methods),
                measures=tuple(part.strip() for part in measures.split(",")) if measures != "all" else ("maps",),
                texts=options.split_texts(texts) if texts else None,
                size=options.parse_size(size),
                seed=seed,
                templates=templates,
                precision=precision,
                limit=limit,
                batch=batch,
            )
        if measures == "all":
            request = _with_all_measures(request, device)
        state = run_with_bar(request, out, workers, ray, device)
    say(f"{state}. Figures: clip-theatre study show {out}")
    if state.unreadable:
        _report_unreadable(out)
        raise typer.Exit(FAILED)


def run_with_bar(request: "Study", folder: Path, workers: int, ray: str | None, device: str) -> "StudyState":
    """`run_study` with a bar, images per second and time left, and a line on waiting at the end."""
    from analysis.studies import open_study, run_study
    from analysis.studies.images import count_images

    last: list[Progress] = []
    with bar("Images", total=count_images(request), rate="images") as advance:

        def report(progress: "Progress") -> None:
            last[:] = [progress]
            advance(progress.done)

        state = run_study(request, folder, workers, ray, device=device, progress=report, say=say)
    if last:
        progress = last[0]
        waiting = progress.waiting_seconds
        share = "" if waiting is None else f", {100 * waiting / max(progress.seconds, 1e-9):.0f} % of it reading images"
        say(f"{progress.measured} images in {progress.seconds:.1f} s, {progress.images_per_second:.1f} images/s{share}")
    return open_study(folder).state if last else state


@study.command("show")
def show_command(
    folder: Folder,
    measure: Measure = None,
    by_text: Annotated[bool, typer.Option("--by-text", help="A line for each text as well.")] = False,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FOLDER", help="Also write all lines there.")] = None,
    lines: Annotated[int, typer.Option("--lines", min=1, help="Lines printed a measure.")] = ROWS_SHOWN,
) -> None:
    """Print the figures of a study: mean and 95 % interval over images."""
    from analysis.studies import open_study, summarise_study
    from data.store import write_table

    opened = open_study(folder)
    request = opened.study
    say(f"{request.model} on {request.data}: {opened.state}")
    chosen = None if measure is None else [measure]
    for name, table in summarise_study(folder, by_text=by_text, measures=chosen).items():
        typer.echo(f"\n{name}")
        _print_table(table, lines)
        if csv is not None:
            write_table(csv / f"{name}.csv", table)
    if opened.state.unreadable:
        _report_unreadable(folder)


@study.command("worst")
def worst_command(
    folder: Folder,
    method: Annotated[str, typer.Option("--method", help="Whose maps; a method of the study.")] = "clip",
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", dir_okay=False, help="Also write all.")] = None,
    lines: Annotated[int, typer.Option("--lines", min=1, help="Components printed.")] = 10,
) -> None:
    """Print which component writes the flip, and how often: shares of the flipped maps with 95 % intervals over images.

    A map is flipped where its flip AUC is below 0.5; the component of its most negative blame is the worst. The study
    needs the measures maps and blame.

    [bold]Examples[/bold]

      clip-theatre study worst out/toy
    """
    from analysis.studies import open_study
    from analysis.studies.groups import worst_components
    from data.store import write_table

    table = worst_components(open_study(folder), method)
    about = table.attrs
    say(
        f"{about['flipped']:,} of {about['maps']:,} maps of {about['all images']:,} images are flipped by {method}, in "
        f"{about['images']:,} images"
    )
    shown = table.head(lines)
    share = lambda row, name: f"{row[name]:.1%}"  # noqa: E731
    for _, row in shown.iterrows():
        ends = f"({share(row, 'worst low')} to {share(row, 'worst high')})"
        typer.echo(f"{row['component']:12} worst in {share(row, 'worst'):>6} {ends:20}  mean {row['blame']:+.4f}")
    if csv is not None:
        write_table(csv, table)


@study.command("compare")
def compare_command(
    first: Folder,
    second: Folder,
    measure: Measure = None,
    methods: Annotated[
        str | None,
        typer.Option("--methods", metavar="A,B", help="Method of the first study, and of the second to pair it with."),
    ] = None,
    quantity: Annotated[
        str | None, typer.Option("--quantity", help="Rank the images by this one; default: the first.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=0, help="Number of most changed images.")] = 10,
    lines: Annotated[int, typer.Option("--lines", min=1, help="Lines printed.")] = ROWS_SHOWN,
) -> None:
    """Pair two studies of the same images: differences with intervals, most changed images first.

    Two methods of one study: name its folder twice, with --methods clip,clip_surgery.
    """
    from analysis.studies import compare_studies, open_study

    with usage_errors():
        pair = None if methods is None else _pair(methods)
    found = compare_studies(first, second, measure, methods=pair)
    say(f"{found.measure}, second minus first, {found.table['images'].max()} images")
    _print_table(found.table, lines)
    chosen = quantity or found.table["quantity"].iloc[0]
    changed = found.most_changed(chosen, top)
    if len(changed):
        names = open_study(first).images().set_index("index")["name"]
        changed.insert(1, "image", changed["index"].map(names))
        typer.echo(f"\nmost changed images by {chosen}")
        _print_table(changed, top)


@study.command("measures")
def list_measures() -> None:
    """List the measures."""
    from analysis.studies import MEASURES

    for name, measure in MEASURES.items():
        typer.echo(f"{name:14} {measure.about}")


def _methods(model: str, weights: str | None, device: str, methods: list[str] | None) -> tuple[str, ...]:
    """The named methods, or all that have a meaning for the tower."""
    if methods:
        return tuple(method.strip() for method in methods)
    from surgery import CLASSIC

    if model == "toy":
        return CLASSIC
    loaded = options.load_chosen(model, None if weights == "random" else weights, weights == "random", device, "auto")
    return tuple(options.choose_methods(loaded.tower, ()))


def _with_all_measures(request: "Study", device: str) -> "Study":
    """All measures that have a meaning for the model and the images, the dear one left out."""
    from dataclasses import replace

    from analysis.studies import usable_measures

    usable, refused = usable_measures(request, device)
    for name, reason in refused.items():
        say(f"Note: {name} is left out: {reason}")
    return replace(request, measures=usable)


def _pair(methods: str) -> tuple[str, str]:
    parts = tuple(part.strip() for part in methods.split(";" if ";" in methods else ","))
    if len(parts) != 2:
        raise ValueError(f'Expected --methods to be two methods A,B (A;B where one holds commas), but got "{methods}"')
    return parts


def _print_table(table: "pd.DataFrame", lines: int) -> None:
    shown = table.head(lines)
    numbers = {name: "{:.4f}".format for name in shown.columns if shown[name].dtype.kind == "f"}
    typer.echo(shown.to_string(index=False, formatters=numbers, na_rep=""))
    if len(table) > lines:
        typer.echo(f"... {len(table) - lines} more lines (--lines)")


def _report_unreadable(folder: Path) -> None:
    from analysis.studies import open_study

    problems = open_study(folder).images(unreadable=True)
    for _, row in problems.head(PROBLEMS_SHOWN).iterrows():
        say(f"Not read: {row['name']}: {row['problem']}")
    if len(problems) > PROBLEMS_SHOWN:
        say(f"Not read: {len(problems) - PROBLEMS_SHOWN} more")
