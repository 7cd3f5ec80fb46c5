"""`clip-theatre datasets`: what can be read, what each needs on disk, and what of it is missing."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from dashboard.cli.console import FAILED, bar, interrupt_note, say

if TYPE_CHECKING:
    from data.datasets import Dataset

PIPE_WIDTH = 200
PROBLEMS_SHOWN = 20


def show_datasets(
    data: Annotated[
        str | None,
        typer.Argument(metavar="KIND:ROOT", help="Check this one, such as voc21:/data; also a folder, or toy:20."),
    ] = None,
    read: Annotated[
        bool, typer.Option("--read", help="Decode every image and mask, and list what cannot be read.")
    ] = False,
) -> None:
    """List the data sets that can be read and what each needs on disk; or check one that is named.

    Nothing is downloaded. What is missing is said with the one command that makes it.

    [bold]Examples[/bold]

      clip-theatre datasets

      clip-theatre datasets cityscapes:/data --read
    """
    if data is None:
        if read:
            raise typer.BadParameter("Expected KIND:ROOT with --read, but got none")
        _list()
        return
    with interrupt_note(lambda: "nothing was changed."):
        problems = _missing(data)
        for problem in problems:
            say(f"Missing: {problem}")
        if problems:
            raise typer.Exit(FAILED)
        with bar("Opening"):
            from data.registry import open_dataset

            dataset = open_dataset(data)
        typer.echo(describe_dataset(dataset))
        if read and not _read(dataset):
            raise typer.Exit(FAILED)


def _list() -> None:
    from data.registry import KINDS

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("kind", no_wrap=True)
    for title in ("what", "with", "below ROOT"):
        table.add_column(title, overflow="fold")
    for kind in KINDS.values():
        table.add_row(kind.name, kind.title, kind.holds, "\n".join(kind.needs))
    console.print(table)
    console.print(
        "\nNamed as KIND:ROOT, KIND:ROOT#SPLIT, a folder, or toy:N (N scenes of the toy). "
        "Check one: clip-theatre datasets KIND:ROOT",
        markup=False,
    )


def _missing(data: str) -> list[str]:
    """What a named kind lacks; other names are opened as they are."""
    from data.registry import KINDS

    name, _, rest = data.partition(":")
    if name not in KINDS or not rest:
        return []
    root, _, split = rest.partition("#")
    return list(KINDS[name].missing(root, split or None))


def describe_dataset(dataset: "Dataset") -> str:
    """Name, number of images and classes, and what comes with the first image."""
    first = dataset[0]
    holds = [
        name
        for name, there in (
            ("masks", first.has_mask),
            ("captions", bool(first.captions)),
            ("labels", first.image_labels is not None),
        )
        if there
    ]
    classes = f", {len(dataset.classes)} classes" if dataset.classes else ""
    return f"{dataset.name}: {len(dataset)} images{classes}, with {', '.join(holds) or 'nothing but pixels'}"


def _read(dataset: "Dataset") -> bool:
    """Whether every image and mask can be read and fits; says what does not."""
    problems = 0
    with bar("Reading", total=len(dataset)) as advance:
        for index in range(len(dataset)):
            problem = sample_problem(dataset, index)
            if problem is not None:
                problems += 1
                if problems <= PROBLEMS_SHOWN:
                    say(f"Problem: {problem}")
            advance(index + 1)
    if problems > PROBLEMS_SHOWN:
        say(f"Problem: {problems - PROBLEMS_SHOWN} more")
    typer.echo(f"{len(dataset) - problems} of {len(dataset)} images are usable")
    return problems == 0


def sample_problem(dataset: "Dataset", index: int) -> str | None:
    """What is wrong with one image and its mask; None where nothing is."""
    sample = dataset[index]
    try:
        opened = sample.decode()
    except (OSError, ValueError) as error:
        return f"{sample.name}: {error}"
    if opened.has_mask and opened.mask.shape != opened.image.size_px:
        return f"{sample.name}: the image is {opened.image.size_px} and its mask {opened.mask.shape} (height, width)"
    return None
