"""How commands speak: one line an error, a bar on what takes longer than a second, exit codes 0, 1, 2 and 130."""

import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from typer.core import TyperGroup

from data.texts import printable

UsageError = typer.BadParameter.__mro__[1]
"""The parser's own class of wrong commands; typer exports only its children."""

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
BAR_AFTER_S = 1.0
FAILURES_SHOWN = 20
OWN_PACKAGES = ("dashboard", "analysis", "surgery", "data")


class CommandGroup(TyperGroup):
    """Commands whose errors are one line on stderr."""

    def main(self, *args: Any, standalone_mode: bool = True, **options: Any) -> Any:
        """Parses and runs; what the packages raise on bad input becomes a message and an exit code."""
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **options)
        try:
            code = super().main(*args, standalone_mode=False, **options)
        except UsageError as error:
            context = getattr(error, "ctx", None)
            hint = f" (see {context.command_path} --help)" if context is not None else ""
            say(f"Error: {error.format_message().rstrip('.')}{hint}")
            code = MISUSED
        except typer.Abort:
            code = INTERRUPTED
        except (OSError, ValueError, OverflowError, RuntimeError, MemoryError) as error:
            say(f"Error: {one_line(error)}")
            code = FAILED
        sys.exit(code if isinstance(code, int) else 0)


def one_line(error: BaseException) -> str:
    """What an error says, without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def error_console() -> Console:
    """A console on what stderr is now; tests replace it."""
    return Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """One line on stderr: no markup, no wrapping, and nothing in it that the terminal obeys."""
    error_console().print(printable(text), markup=False, soft_wrap=True)


def say_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
    """In place of `warnings.showwarning`: what the project's own packages warn of is a note, all else as ever."""
    if category.__module__.startswith(OWN_PACKAGES):
        say(f"Note: {message}")
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))


def say_failures(failures: Sequence[object], what: str = "Error", shown: int = FAILURES_SHOWN) -> None:
    """A line for each of the first few, and how many more there are."""
    for failure in failures[:shown]:
        say(f"{what}: {failure}")
    if len(failures) > shown:
        say(f"{what}: {len(failures) - shown:,} more")


@contextmanager
def usage_errors() -> Iterator[None]:
    """What the packages refuse in here was a wrong command, exit code 2."""
    try:
        yield
    except ValueError as error:
        raise UsageError(one_line(error)) from error


@contextmanager
def interrupt_note(note: Callable[[], str]) -> Iterator[None]:
    """Ctrl-C in here says what was done and ends with 130. Files are written atomically, so none is left half done."""
    _interrupted.clear()
    here = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, _interrupt) if here else None
    try:
        yield
    except KeyboardInterrupt:
        say(f"Interrupted: {note()}")
        raise typer.Exit(INTERRUPTED) from None
    finally:
        if here:
            signal.signal(signal.SIGINT, before)


_interrupted = threading.Event()


def _interrupt(*_: object) -> None:
    """Remembers Ctrl-C: a KeyboardInterrupt raised inside a callback of a C library can be lost there."""
    _interrupted.set()
    raise KeyboardInterrupt


def _advance(progress: Progress, task: TaskID, done: int) -> None:
    if _interrupted.is_set():
        raise KeyboardInterrupt
    progress.update(task, completed=done)


class _Rate(ProgressColumn):
    """Steps a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} {self.unit}/s")


@contextmanager
def bar(label: str, total: int | None = None, rate: str | None = None) -> Iterator[Callable[[int], None]]:
    """A progress bar that appears after a second, on a terminal only.

    Args:
        label: what is going on.
        total: number of steps, None where it is not known.
        rate: what a step is called in "12.3 images/s", None for no such figure.

    Yields:
        A function that takes the number of steps done.
    """
    console = error_console()
    counted = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) if total else ()
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), *counted)
    columns += (_Rate(rate),) if rate else ()
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = progress.add_task(label, total=total)
    timer = threading.Timer(BAR_AFTER_S, progress.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda done: _advance(progress, task, done)
    finally:
        timer.cancel()
        timer.join()
        progress.stop()
