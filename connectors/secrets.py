"""Keys, tokens and author names: held so that no log, error or payload can show them.

`Secret` cannot be printed or serialised by accident. What leaks all the same, as a key in a
URL that a library logs, is struck out by `redact`: `redacting_processor` applies it to
structlog and `guard_logging` to the standard library's loggers.
"""

import hmac
import json
import logging
import re
import traceback
import unicodedata
from collections.abc import MutableMapping
from hashlib import blake2b
from threading import Lock
from typing import Any, NoReturn, Self
from urllib.parse import quote, quote_plus

import structlog

MASK = "***"
# Shorter ones stand in words by chance, as "demo" in "demonstrate": they are struck out only
# where no letter or digit is next to them.
_SURELY_SECRET = 8
_LEAST_KEY = 16  # bytes; a shorter key could be searched, and the authors read with it

_NAMES = (
    r"api[_-]?key|access[_-]?key|(?:access|refresh|id|bearer|auth)[_-]?token|token"
    r"|client[_-]?secret|secret|password|passwd|signature|x-[a-z-]*(?:key|token)"
)
# name=value, "name": "value", name: value; the value ends where a URL, JSON or header ends it.
_PAIR = re.compile(rf"(?i)\b({_NAMES})(\\?[\"']?\s*[=:]\s*b?\\?[\"']?)([^\s&\"'\\,;<>)}}\]]+)")
_SCHEME = re.compile(r"(?i)\b(Basic|Bearer)(\s+)([A-Za-z0-9+/=._~-]{6,})")
_IN_URL = re.compile(r"(://[^/\s:@]*:)([^@/\s]+)(@)")  # user:password@host


class _Known:
    """Every secret made so far, as one pattern; they are few and live as long as we do."""

    def __init__(self) -> None:
        self._forms: dict[str, None] = {}
        self._pattern: re.Pattern[str] | None = None
        self._lock = Lock()  # feeds and dataflow run in threads of their own

    def add(self, value: str) -> None:
        quoted = (value, quote(value, safe=""), quote(value), quote_plus(value))
        forms = {*quoted, json.dumps(value)[1:-1], repr(value)[1:-1]} - {""}
        with self._lock:
            if forms <= self._forms.keys():
                return
            self._forms.update(dict.fromkeys(forms))
            # Longest first, so that a key that begins like another goes whole.
            ordered = sorted(self._forms, key=lambda form: (-len(form), form))
            self._pattern = re.compile("|".join(map(_pattern_of, ordered)))

    def strike(self, text: str) -> str:
        return text if self._pattern is None else self._pattern.sub(MASK, text)


def _pattern_of(form: str) -> str:
    literal = re.escape(form)
    return literal if len(form) >= _SURELY_SECRET else rf"(?<!\w){literal}(?!\w)"


_known = _Known()


class Secret:
    """A key or token. It prints as `***`, and neither pickle nor msgspec takes it.

    >>> key = Secret("s3cr3t-k3y")
    >>> f"{key} {key!r}"
    "*** Secret('***')"
    >>> key.reveal()
    's3cr3t-k3y'
    """

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        """Hold `value`, and have `redact` know it; an empty one stands for none."""
        self._value = value
        _known.add(value)

    def reveal(self) -> str:
        """Return the secret itself: only where it is sent to whom it is for."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __str__(self) -> str:
        return MASK

    def __repr__(self) -> str:
        return f"Secret('{MASK}')" if self._value else "Secret()"

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written to disk or sent to another process")


def secret_from(kind: type, value: object) -> Secret:
    """Make a `Secret` of a string; the `dec_hook` for settings that hold one.

    Raises:
        NotImplementedError: `kind` is another type, as msgspec wants it.
    """
    if kind is not Secret or not isinstance(value, str):
        raise NotImplementedError(f"expected a string for a secret, found {type(value).__name__}")
    return Secret(value)


def redact(text: str) -> str:
    """Return `text` without any secret: those known, and what looks like one by its name.

    >>> redact("GET https://venue.example/query?symbol=IBM&apikey=ABC123")
    'GET https://venue.example/query?symbol=IBM&apikey=***'
    >>> redact("> Authorization: Bearer eyJhbGciOi.e30.x")
    '> Authorization: Bearer ***'
    """
    text = _known.strike(text)
    text = _SCHEME.sub(rf"\1\2{MASK}", text)
    text = _IN_URL.sub(rf"\1{MASK}\3", text)
    return _PAIR.sub(rf"\1\2{MASK}", text)


def redacting_processor(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Strike secrets out of a structlog event; to stand last before the renderer.

    Tracebacks are made text here, because a renderer that makes them later may show the
    values of local variables.
    """
    if event.get("exc_info"):
        event = structlog.processors.format_exc_info(logger, method, event)
    return {redact(str(key)): _redacted(value) for key, value in event.items()}


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {_redacted(key): _redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted(item) for item in value]
    # Anything else is shown by its repr: as text if that holds a secret, untouched if not.
    shown = repr(value)
    struck = redact(shown)
    return value if struck == shown else struck


def guard_logging() -> None:
    """Strike secrets out of every record of the standard library's loggers, for good.

    At the making of the record, because a filter of a logger sees nothing of its children's
    and one of a handler knows nothing of handlers added later. httpx2 logs each URL at INFO;
    websockets logs paths and headers at DEBUG.
    """
    base = logging.getLogRecordFactory()
    if isinstance(base, _Guard):
        return
    logging.setLogRecordFactory(_Guard(base))


class _Guard:
    def __init__(self, base: Any) -> None:
        self.base = base

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = self.base(*args, **kwargs)
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - arguments that do not fit their format
            message = f"{record.msg!r} {record.args!r}"
        struck = redact(message)
        if struck != message:
            record.msg, record.args = struck, ()
        if record.exc_info and record.exc_info[1] is not None:
            shown = "".join(traceback.format_exception(record.exc_info[1])).rstrip()
            struck = redact(shown)
            if struck != shown:
                record.exc_info, record.exc_text = None, struck
        return record


class AuthorHash:
    """Name an author by a keyed hash, which nobody can turn back without the key.

    The same key gives the same hash for a name in any case and spacing.
    """

    def __init__(self, key: bytes) -> None:
        """Hash with `key`, of at least 16 bytes."""
        if len(key) < _LEAST_KEY:
            raise ValueError(
                f"an author key needs at least {_LEAST_KEY} bytes, found {len(key)}; "
                "make one with: openssl rand -hex 32"
            )
        self._key = blake2b(key, digest_size=32).digest()  # any length becomes one that fits

    def __repr__(self) -> str:
        return "AuthorHash(***)"

    def __call__(self, name: str) -> str:
        """Return 32 hexadecimal digits for `name`."""
        words = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
        coded = words.encode("utf-8", "surrogatepass")
        return blake2b(coded, key=self._key, digest_size=16).hexdigest()
