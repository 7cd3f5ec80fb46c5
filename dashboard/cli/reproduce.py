"""`clip-theatre reproduce`: a paper's row of segmentation mIoU, measured beside the published figures."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dashboard.cli import options
from dashboard.cli.console import FAILED, bar, interrupt_note, say, usage_errors
from dashboard.cli.study import run_with_bar

if TYPE_CHECKING:
    from analysis.studies import Study, StudyState
    from analysis.studies.reproduce import Row

DATA_PANEL, RUN_PANEL = "What", "How"


def reproduce_row(
    method: Annotated[
        str,
        typer.Argument(
            metavar="METHOD",
            help="clip, maskclip, clip_surgery, sclip, gem, naclip, naclip_pamr, resclip, itaclip or clearclip, each "
            "by its own protocol; common: all methods in one.",
        ),
    ],
    data: Annotated[
        Path,
        typer.Option("--data", help="Folder below which the data sets lie as downloaded.", rich_help_panel=DATA_PANEL),
    ],
    sets: Annotated[
        str | None,
        typer.Option(
            "--sets",
            help="voc21, context60, coco_object, voc20, context59, coco_stuff, cityscapes, ade20k, coco_stuff10k; "
            "default: those that are there.",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="First N images only.", rich_help_panel=DATA_PANEL)
    ] = None,
    model: options.ModelName = "ViT-B-16",
    pretrained: options.Pretrained = None,
    random_weights: options.RandomWeights = False,
    device: options.Device = "auto",
    precision: options.Precision = "fp32",
    workers: Annotated[
        int, typer.Option("--workers", "-w", min=0, help="Processes that read ahead.", rich_help_panel=RUN_PANEL)
    ] = 0,
    out: options.Out = Path("out"),
) -> None:
    """Measure a method's published segmentation mIoU again, by its own protocol, and print both side by side.

    Every row names its whole protocol, what had to be assumed, and where paper and repository differ. Without
    --pretrained the weights are OpenAI's. Writes [bold]reproduce_METHOD_MODEL/[/bold]: a study for each data set, which
    the same command goes on with after a stop, table.md and table.json. What each data set needs on disk:
    [bold]clip-theatre datasets[/bold].

    [bold]Examples[/bold]

      clip-theatre reproduce clearclip --data /data

      clip-theatre reproduce common --data /data --sets voc20,cityscapes --model ViT-L-14
    """
    weights = _weights(model, pretrained, random_weights)
    options.check_weights(model, None if random_weights else weights, random_weights)
    with interrupt_note(lambda: "the parts that are done stay; the same command goes on."):
        with bar("Starting"):
            from analysis.studies.reproduce import reproduce, table_of
        names = choose_sets(method, data, sets)
        methods = _methods_of(method, model, weights, device)
        folder = out / f"reproduce_{method}_{model.replace('/', '-').replace(':', '-')}"

        def run(request: "Study", place: Path) -> "StudyState":
            say(f"{request.protocol}, {request.data}")
            return run_with_bar(request, place, workers, None, device)

        rows = list(
            reproduce(
                method, data, folder, names, model=model, pretrained=weights, methods=methods, limit=limit,
                precision=precision, run=run,
            )
        )  # fmt: skip
    typer.echo(table_of(rows))
    _write(folder, rows)
    say(f"Wrote {folder / 'table.md'}, {folder / 'table.json'}.")
    if any(row.measured is None for row in rows):
        raise typer.Exit(FAILED)


def _weights(model: str, pretrained: str | None, random_weights: bool) -> str | None:
    if random_weights:
        return "random"
    if pretrained is not None or options.carries_weights(model):
        return pretrained
    return "openai"


def _methods_of(method: str, model: str, weights: str | None, device: str) -> tuple[str, ...]:
    """All methods that have a meaning for the tower, where they are asked for."""
    from surgery import METHODS

    if method != "common" or model == "toy":
        return tuple(METHODS)
    random = weights == "random"
    loaded = options.load_chosen(model, None if random else weights, random, device, "auto")
    return tuple(options.choose_methods(loaded.tower, ()))


def choose_sets(method: str, data: Path, sets: str | None) -> list[str]:
    """The data sets named, or those that are below the folder.

    Raises:
        UsageError: no such method or data set.
        FileNotFoundError: none is there.
    """
    from analysis.evaluation.presets import DATA_SETS, check_preset
    from data.registry import KINDS

    names = [name.strip() for name in sets.split(",")] if sets is not None else list(DATA_SETS)
    with usage_errors():
        for name in names:
            check_preset(method, name)
    if sets is not None:
        return names
    missing = {name: next(KINDS[name].missing(data), None) for name in names}
    found = [name for name in names if missing[name] is None]
    if not found:
        raise FileNotFoundError(
            f"Expected a data set below {data}, but got none of {', '.join(names)}; of voc21, {missing['voc21']}"
        )
    left_out = [name for name in names if name not in found]
    if left_out:
        say(f"Note: not below {data}, so left out: {', '.join(left_out)} (clip-theatre datasets KIND:{data} says why)")
    return found


def _write(folder: Path, rows: "list[Row]") -> None:
    from analysis.studies.reproduce import table_of
    from data.store import write_bytes, write_json

    write_bytes(folder / "table.md", f"{table_of(rows)}\n".encode())
    write_json(folder / "table.json", [_as_json(row) for row in rows])


def _as_json(row: "Row") -> dict[str, object]:
    values = asdict(row) | {"difference": row.difference}
    if row.measured is not None:  # JSON has no NaN, the interval of a single image
        values["measured"] = {k: v if v == v else None for k, v in asdict(row.measured).items()}
    return values
