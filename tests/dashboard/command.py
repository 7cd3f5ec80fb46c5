"""Running the command inside a test."""

from typer.testing import CliRunner

from dashboard.cli import app


def run(*arguments, code=0):
    """Runs the command and checks its exit code; the result has .stdout and .stderr."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def run_maps(*arguments, out, code=0):
    return run("maps", *arguments, "--device", "cpu", "--out", out, code=code)


def error_of(*arguments, code):
    """The one line on stderr of a command that fails before anything is done."""
    (line,) = run(*arguments, code=code).stderr.strip().splitlines()
    assert line.startswith("Error: ")
    return line


def visible(folder):
    return sorted(path.name for path in folder.iterdir())
