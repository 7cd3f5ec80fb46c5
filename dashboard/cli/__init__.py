"""The command `clip-theatre`. Each command is a module; what is slow to import is imported when a command runs."""

import warnings
from typing import Annotated

import typer

from dashboard.cli.console import CommandGroup, say_warning
from dashboard.cli.datasets import show_datasets
from dashboard.cli.diagnose import diagnose_image
from dashboard.cli.judge import judge_image
from dashboard.cli.maps import draw_maps
from dashboard.cli.masks import draw_masks
from dashboard.cli.models import show_models
from dashboard.cli.reproduce import reproduce_row
from dashboard.cli.serve import start_app
from dashboard.cli.study import study
from dashboard.cli.sweep import sweep_images

app = typer.Typer(
    name="clip-theatre",
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"clip-theatre {version('clip-theatre')}")
        raise typer.Exit()


@app.callback()
def describe(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Watch a CLIP model being operated on: similarity maps, inference-time surgery, and why a map flips.

    Start with the dashboard, which needs no download: [bold]clip-theatre app[/bold]

    Exit codes: 0 done; 1 something could not be read, found or computed; 2 the command line itself was wrong, such as
    an unknown option or a value out of range; 130 stopped by Ctrl-C.
    """


app.command("app")(start_app)
app.command("maps")(draw_maps)
app.command("masks")(draw_masks)
app.command("diagnose")(diagnose_image)
app.command("judge")(judge_image)
app.command("sweep")(sweep_images)
app.add_typer(study, name="study")
app.command("reproduce")(reproduce_row)
app.command("datasets")(show_datasets)
app.command("models")(show_models)


def main() -> None:
    """Entry point of the installed command."""
    warnings.showwarning = say_warning
    app()


__all__ = ["app", "main"]
