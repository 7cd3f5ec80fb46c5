"""`clip-theatre app`: starts the dashboard."""

import importlib.util
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from dashboard.cli.console import say

DEFAULT_PORT = 8501
PORTS_TRIED = 20
LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = ("0.0.0.0", "::")
MODELS_VARIABLE = "CLIP_THEATRE_MODELS"
DATA_VARIABLE, STUDIES_VARIABLE = "CLIP_THEATRE_DATA", "CLIP_THEATRE_STUDIES"


def start_app(
    port: Annotated[
        int | None,
        typer.Option("--port", "-p", min=1, max=65535, help=f"Port; default: the first free one from {DEFAULT_PORT}."),
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(
            "--models",
            exists=True,
            file_okay=False,
            metavar="FOLDER",
            help="Folder of local checkpoints for the model picker: open_clip folders, and files "
            "<architecture>__<any name>.safetensors (or .pt).",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            exists=True,
            file_okay=False,
            metavar="FOLDER",
            help="Folder of data sets for the Study page, as downloaded or with images/, masks/ and classes.txt.",
        ),
    ] = None,
    studies: Annotated[
        Path | None,
        typer.Option(
            "--studies", exists=True, file_okay=False, metavar="FOLDER", help="Folder of finished studies for it."
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option("--host", help="Address to listen on. Other machines can reach the page if it is not this one."),
    ] = LOOPBACK[0],
    headless: Annotated[bool, typer.Option("--headless", help="Do not open a browser.")] = False,
) -> None:
    """Start the dashboard in the browser; Ctrl-C stops it.

    It listens on this machine only. On a server, forward the port: ssh -L 8501:127.0.0.1:8501 server

    [bold]Examples[/bold]

      clip-theatre app

      clip-theatre app --headless --port 8600 --models ~/checkpoints

      clip-theatre app --data ~/datasets --studies ~/studies
    """
    port = _free_port(host, port)
    for variable, folder in ((MODELS_VARIABLE, models), (DATA_VARIABLE, data), (STUDIES_VARIABLE, studies)):
        if folder is not None:
            os.environ[variable] = str(folder.resolve())
    if host not in LOOPBACK:
        say(
            f"Note: on {host}, everyone who reaches this port can use the dashboard; there is no password. "
            "docs/serving.md says how to put a login in front of it."
        )
    typer.echo(f"CLIP Theatre: http://{_shown_host(host)}:{port}  (Ctrl-C stops it)")
    from streamlit.web import cli as streamlit_cli

    # PyTorch takes seconds to import: start now, so that the first visitor waits less.
    threading.Thread(target=importlib.import_module, args=("dashboard.app",), daemon=True).start()
    sys.argv = ["streamlit", "run", str(_entry()), *streamlit_flags(host, port, headless)]
    streamlit_cli.main()


def streamlit_flags(host: str, port: int, headless: bool) -> list[str]:
    """The settings that must hold wherever the command is started and whatever the environment says."""
    settings = {
        "server.address": host,
        "server.port": port,
        "server.headless": headless,
        "server.maxUploadSize": 20,  # MB
        "server.fileWatcherType": "none",
        "server.enableXsrfProtection": True,
        "server.enableCORS": True,
        "server.showEmailPrompt": False,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",  # the log has the stack
        "logger.hideWelcomeMessage": True,  # also hides an advertisement that covers the tools of the page
    }
    flags = [f"--{name}={str(value).lower()}" for name, value in settings.items()]
    return flags + [f"--server.allowedHosts={name}" for name in _allowed_hosts(host)]


def _allowed_hosts(host: str) -> list[str]:
    """Names under which a browser may ask: of this machine, and the address it listens on; any for all addresses."""
    if host in LOOPBACK:
        return ["localhost", "127.0.0.1"]
    if host in EVERYWHERE:
        return ["*"]
    return list(dict.fromkeys(["localhost", "127.0.0.1", host, socket.gethostname(), socket.getfqdn()]))


def _entry() -> Path:
    found = importlib.util.find_spec("streamlit_server")
    if found is None or found.origin is None:
        raise FileNotFoundError("Expected streamlit_server.py to be installed with the command, but found none")
    return Path(found.origin)


def _shown_host(host: str) -> str:
    return "localhost" if host in EVERYWHERE else f"[{host}]" if ":" in host else host


def _free_port(host: str, wanted: int | None) -> int:
    """The wanted port, or the first free one.

    Raises:
        OSError: the wanted port, or all that are tried, are in use, or the address is none of this machine.
    """
    candidates = [wanted] if wanted else range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED)
    for port in candidates:
        try:
            family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                return port
        except OSError as error:
            reason = error
    tried = str(wanted) if wanted else f"{DEFAULT_PORT} to {DEFAULT_PORT + PORTS_TRIED - 1}"
    raise OSError(f"Expected port {tried} of {host} to be free, but got: {reason.strerror}")
