"""A place to tell people, through Apprise: e-mail, Slack, Telegram, LINE, webhooks and so on.

What Apprise is given, and what it says, never shows a secret: the URL and each part of it that
could be one are known to `redact`.
"""

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from connectors.secrets import Secret, redact
from operators.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LEAST = 6  # letters of a part of a URL that may be a token
_WORDS = 300  # letters of an error that are kept


class ChannelError(Exception):
    """A message was not taken; says why, without secrets."""


class Channel(Protocol):
    """What a delivery worker needs of a place to tell people."""

    def send(self, title: str, body: str) -> None:
        """Tell it; return once it is taken. Raises ChannelError."""


class AppriseChannel:
    """One Apprise URL. `send` may be called from one thread at a time."""

    def __init__(self, name: str, url: Secret) -> None:
        """Read the URL; nothing is connected.

        Raises:
            SettingsError: Apprise does not know what it names.
        """
        from apprise import Apprise  # noqa: PLC0415 - half a second of imports, and only here

        _hide_parts(url.reveal())
        self.name = name
        try:
            self._service: Any = Apprise.instantiate(url.reveal())
        except TypeError:
            self._service = None
        if self._service is None:
            raise SettingsError(
                f"the URL of the alert target '{name}' is none that Apprise knows; see "
                "https://appriseit.com/services/ and set its secret anew"
            )

    def send(self, title: str, body: str) -> None:
        """Tell it; return once it is taken, at least by the first server on its way."""
        with _heard() as said:
            try:
                taken = self._service.notify(title=title, body=body, body_format="text")
            except Exception as error:  # noqa: BLE001 - of any of a hundred services
                raise ChannelError(_short(f"{type(error).__name__}: {error}")) from None
        if not taken:
            raise ChannelError(_short("; ".join(said) or "it was not taken"))


def _hide_parts(url: str) -> None:
    """Make user, password, and each part of path and query of a URL secrets.

    In its own case: what `urlsplit` takes for the name and port of a server is often a token.
    """
    parts = urlsplit(url)
    user, _, server = parts.netloc.rpartition("@")
    _, _, password = user.partition(":")
    pieces = [user, *user.replace("@", ":").split(":"), *parts.path.split("/")]
    pieces += [value for _, value in parse_qsl(parts.query)]
    if parts.scheme not in {"json", "jsons", "mailto", "mailtos", "xml", "xmls", "form", "forms"}:
        pieces += [server, *server.split(":")]  # where many services have their first token
    if password:  # however short
        Secret(password)
        Secret(unquote(password))
    for piece in pieces:
        if piece and len(piece) >= _LEAST:
            Secret(piece)
            Secret(unquote(piece))


def _short(text: str) -> str:
    return redact(" ".join(text.split()))[:_WORDS]


class _Listener(logging.Handler):
    """Hear what Apprise says in each thread: it answers yes or no, and logs why."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.of = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        said = getattr(self.of, "said", None)
        if said is not None:
            said.append(record.getMessage())


_listener = _Listener()


@contextmanager
def _heard() -> "Iterator[list[str]]":
    logger = logging.getLogger("apprise")
    logger.addHandler(_listener)  # once, however often it is called
    logger.propagate = False  # what matters of it is stored and logged by us
    said: list[str] = []
    _listener.of.said = said
    try:
        yield said
    finally:
        _listener.of.said = None
