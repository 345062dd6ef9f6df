"""The one error family. Every failure a person may see is raised as one of these, with the text they will read;
the dialects under ``api/`` and the window only dress it."""

from __future__ import annotations

from typing import Any

LONGEST_SHOWN = 80  # characters
LONGEST_LINE = 500


class TavernkeepError(Exception):
    """A failure with a sentence for people, an HTTP status and a machine-readable code.

    ``message`` says what happened and why; ``hint`` says what to do about it (may be empty). What ``quotes`` a request
    is told to whoever sent that, and not to the log. ``param`` names the field at fault, if one is.
    """

    status = 500
    code = "server_error"
    quotes = False
    param: str | None = None

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class SettingsError(TavernkeepError):
    """A flag, a window field or a ``.kcpps`` entry that cannot be used."""

    status = 400
    code = "invalid_settings"


class OpenToAll(SettingsError):
    """Settings that would open the server to a network without a decision on who may come."""


class DownloadError(TavernkeepError):
    """A model that cannot be found or fetched."""

    code = "download_failed"


class PortInUse(TavernkeepError):
    """The address to listen on belongs to another program."""

    code = "port_in_use"


class BadRequest(TavernkeepError):
    """A request that cannot be understood."""

    status = 400
    code = "invalid_request_error"
    quotes = True

    def __init__(self, message: str, hint: str = "", *, param: str | None = None) -> None:
        super().__init__(message, hint)
        self.param = param


class ContextLengthExceeded(BadRequest):
    """A prompt that does not fit, of a request that does not want it shortened."""

    code = "context_length_exceeded"


class Unauthorized(TavernkeepError):
    """The server has a password and the request did not bring it."""

    status = 401
    code = "invalid_api_key"


class Forbidden(TavernkeepError):
    """The guard refuses where the request comes from."""

    status = 403
    code = "forbidden"


class NotFound(TavernkeepError):
    """No such route."""

    status = 404
    code = "not_found"
    quotes = True


class ModelNotFound(NotFound):
    """No model of this name."""

    code = "model_not_found"


class NotAvailable(TavernkeepError):
    """Something that this server does not do, or that is not switched on."""

    status = 501
    code = "not_available"


class ModelNotReady(TavernkeepError):
    """No model can answer now: it is loading, has failed, or none was chosen."""

    status = 503
    code = "service_unavailable"


class ServerBusy(TavernkeepError):
    """The queue is full."""

    status = 503
    code = "service_unavailable"


class EngineDied(TavernkeepError):
    """The engine process ended while it was needed."""

    status = 503
    code = "engine_died"


class ModelLoadError(TavernkeepError):
    """A model file that cannot be loaded."""

    code = "model_load_failed"


def in_a_line(text: str) -> str:
    """A text of others that is most of a sentence or a path, without quotes: in one line, of a length to read, and with
    what does not print spelled out. For a single value take :func:`shown`."""
    spelled = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    return spelled if len(spelled) <= LONGEST_LINE else f"{spelled[:LONGEST_LINE]}..."


def shown(value: Any) -> str:
    """A value in a sentence: whoever wrote it knows it by its beginning."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."
