"""`clip-theatre models`: what can be loaded."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dashboard.cli.console import bar

if TYPE_CHECKING:
    from surgery.catalog import ModelInfo

TEXT_PACKAGES = "*"
"""Mark of models whose texts need more packages."""

FOOTNOTE = (
    f"{TEXT_PACKAGES} Texts need the packages transformers and sentencepiece; in the folder of the clone: "
    '.venv/bin/uv pip install --python .venv/bin/python -e ".[siglip]"'
)

PIPE_WIDTH = 160
REFUSED = "–"


def show_models(
    filter_: Annotated[
        str, typer.Argument(metavar="FILTER", help="Only names or tags that contain this, such as [bold]B-16[/bold].")
    ] = "",
    all_: Annotated[
        bool, typer.Option("--all", help="Also those that cannot be operated on, with the reason.")
    ] = False,
    summary: Annotated[
        bool, typer.Option("--summary", help="Count architectures and weights by kind of tower instead.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the models that can be loaded: size, patch, resolution, and which weights are on this machine.

    Nothing is downloaded. Weights in [bold green]green[/bold green] with a ✓ are already here.

    [bold]Examples[/bold]

      clip-theatre models siglip

      clip-theatre models --all --json

      clip-theatre models --summary
    """
    with bar("Reading the catalog"):
        from surgery.catalog import list_models

        found = [info for info in list_models() if (all_ or summary or info.supported) and _matches(info, filter_)]
    if not found:
        more = "" if all_ else " that can be operated on; --all also shows the others"
        raise ValueError(f"Expected FILTER to be part of a name or tag, but got {filter_!r}, which is in none{more}")
    if summary:
        _show_summary(found, as_json)
        return
    if as_json:
        typer.echo(json.dumps([asdict(info) for info in found], indent=2))
        return
    console = _console()
    console.print(_table(found))
    if any(_needs_text_packages(info) for info in found):
        console.print(f"\n{FOOTNOTE}", style="yellow", markup=False)


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def _show_summary(found: "list[ModelInfo]", as_json: bool) -> None:
    """Counts of open_clip's own architectures by kind of tower: those with blocks, with a last layer only, refused."""
    from surgery.catalog import TOY, count_families
    from surgery.towers import FAMILIES

    models = [info for info in found if info.name != TOY]
    rows = count_families(models)
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=2))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("tower", no_wrap=True)
    for title in ("architectures", "weights"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("for example", overflow="fold")
    for row in rows:
        title, names = FAMILIES.get(row.family, "refused"), ", ".join(_spread(row.names))
        table.add_row(title, str(row.architectures), str(row.tags), f"{names}: {row.reason}" if row.reason else names)
    console = _console()
    console.print(table)
    operable = [info for info in models if info.has_blocks]
    console.print(
        f"\nWith blocks to operate on: {len(operable)} of {len(models)} architectures, "
        f"{sum(len(info.tags) for info in operable)} of {sum(len(info.tags) for info in models)} pretrained weights."
    )


def _spread(names: tuple[str, ...], count: int = 4) -> list[str]:
    """A few names from all over a list."""
    return list(dict.fromkeys(names[round(i * (len(names) - 1) / (count - 1))] for i in range(count)))


def _matches(info: "ModelInfo", wanted: str) -> bool:
    return any(wanted.lower() in text.lower() for text in (info.name, *(tag.tag for tag in info.tags)))


def _table(found: "list[ModelInfo]") -> Table:
    from surgery.towers import FAMILIES

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("name", no_wrap=True)
    table.add_column("tower")
    for title in ("parameters", "patch", "input"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("weights (--pretrained)", overflow="fold")
    for info in found:
        parameters = "–" if info.parameters is None else f"{info.parameters / 1e6:.1f} M"
        patch = "–" if info.patch_px is None else f"{info.patch_px} px"
        family = FAMILIES.get(info.family, REFUSED)
        table.add_row(info.name, family, parameters, patch, f"{info.image_size} px", _weights(info))
    return table


def _weights(info: "ModelInfo") -> Text:
    """Tags, those on this machine marked, or what there is instead; then what stands in the way."""
    text = Text()
    if info.name == "toy":
        text.append("✓ embedded", style="green")
    elif not info.tags and (info.supported or _needs_text_packages(info)):
        text.append("none published: a file, or --random-weights", style="dim")
    for index, tag in enumerate(info.tags):
        text.append(", " if index else "")
        text.append(f"✓ {tag.tag}" if tag.cached else tag.tag, style="bold green" if tag.cached else "")
    if _needs_text_packages(info):
        text.append(f" {TEXT_PACKAGES}", style="yellow")
    elif info.reason:
        text.append(f"{'; ' if text else ''}{info.reason}", style="yellow")
    return text


def _needs_text_packages(info: "ModelInfo") -> bool:
    from surgery.catalog import NEEDS_TRANSFORMERS

    return info.reason == NEEDS_TRANSFORMERS
