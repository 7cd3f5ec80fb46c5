"""Why a file could not be fetched: one kind for each thing that a user would do next."""

import os
from collections.abc import Mapping

PROXY_VARIABLES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")

KINDS = (
    "offline",  # HF_HUB_OFFLINE is set
    "connection",
    "proxy",
    "portal",  # a sign-in page answers
    "headers",  # a proxy takes the hub's headers away
    "gated",
    "private",  # no such repository, or one that needs a token
    "missing",  # the repository has no such file
    "busy",  # 429
    "server",  # 5xx
    "refused",  # any other status
    "disk",
    "cut",
    "stall",
    "damaged",
)


class HubFault(OSError):
    """A file could not be fetched.

    Attributes:
        kind: one of `KINDS`.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def fault_of(error: BaseException, repository: str, file: str, host: str) -> HubFault:
    """The fault behind an error of huggingface_hub or of the HTTP client under it.

    Args:
        error: as raised. Classes are told by name: the HTTP client differs among versions of huggingface_hub.
        repository, file, host: for the message.
    """
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    names = {kind.__name__ for one in chain for kind in type(one).__mro__}
    response = next((one.response for one in chain if getattr(one, "response", None) is not None), None)
    if "GatedRepoError" in names:
        return _gated(repository, host)
    if names & {"RemoteEntryNotFoundError", "EntryNotFoundError"} and "LocalEntryNotFoundError" not in names:
        return HubFault("missing", f"{repository} has no file {file}")
    if "RepositoryNotFoundError" in names:
        return HubFault("private", _private(repository, host))
    if response is not None:
        return fault_of_status(response.status_code, response.headers, repository, host)
    if "ProxyError" in names or "SOCKS" in str(error) or "socksio" in str(error):
        return _proxy(error)
    if names & {"ReadTimeout", "WriteTimeout", "PoolTimeout"}:
        return HubFault("stall", "the connection stalled")
    if names & {"RemoteProtocolError", "ReadError", "WriteError"}:
        return HubFault("cut", "the connection was cut")
    if names & {"ConnectError", "ConnectTimeout", "ConnectionError", "TimeoutException", "gaierror"}:
        return HubFault("connection", f"no connection to {host}")
    return HubFault("refused", " ".join(str(error).split())[:300] or type(error).__name__)


def fault_of_status(status: int, headers: Mapping[str, str], repository: str, host: str) -> HubFault:
    """The fault behind an HTTP status."""
    if headers.get("X-Error-Code") == "GatedRepo" or status == 403:
        return _gated(repository, host)
    if status == 401:
        return HubFault("private", _private(repository, host))
    if status == 404:
        return HubFault("missing", f"{host} answered 404, there is nothing at {repository}")
    if status == 429:
        after = headers.get("Retry-After")
        wait = f"wait {after} s" if after else "wait some minutes"
        return HubFault(
            "busy", f"{host} answered 429, too many requests; {wait}, or set HF_TOKEN, which has a limit of its own"
        )
    if status >= 500:
        return HubFault("server", f"{host} answered {status}, a fault on its side; try again later")
    return HubFault("refused", f"{host} answered {status}")


def _gated(repository: str, host: str) -> HubFault:
    return HubFault(
        "gated",
        f"{repository} is gated; ask for access on its page at {host}, then set HF_TOKEN to a token of yours (or run "
        "hf auth login) and start again",
    )


def _private(repository: str, host: str) -> str:
    return (
        f"{host} has no repository {repository} that can be read without a token; check the name, or set HF_TOKEN for "
        "a private one"
    )


def _proxy(error: BaseException) -> HubFault:
    names = [name for name in PROXY_VARIABLES if os.environ.get(name) or os.environ.get(name.lower())]
    shown = ", ".join(names) or "the proxy settings"
    more = " SOCKS needs the package socksio (pip install socksio)." if "socks" in str(error).lower() else ""
    text = " ".join(str(error).split())[:160]
    return HubFault("proxy", f"the proxy named in {shown} does not work ({text}); correct or unset it.{more}")
