"""Read headlines from JSON lines, and the Fear & Greed index from its CSV.

A headline needs `text` and a time it could be known from: `available_at`, else
`published_at`, as integer nanoseconds or ISO 8601 with a zone. `id`, `source`, `lang`,
`symbols`, `author_hash` may be there.
"""

import csv
import hashlib
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from connectors.sources.entries import Entry, Progress, rejected
from connectors.sources.recording import MAX_LINE, read_lines
from operators.messages import Headline, Mood, Reason

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_TIME = 2**63 - 1
FEAR_GREED = "fear_greed"


class _Line(msgspec.Struct):
    text: str
    available_at: int | str | None = None
    published_at: int | str | None = None
    id: str | None = None
    source: str = "file"
    lang: str = "en"
    symbols: tuple[str, ...] = ()
    author_hash: str | None = None
    names: dict[str, str] = {}


def read_headlines(path: Path, progress: Progress | None = None) -> list[Entry]:
    """Return the headlines of a file in the order they became available."""
    name = str(path)
    entries: list[Entry] = []
    key = 0
    for line in read_lines(path, progress):
        if isinstance(line, str):
            entries.append(rejected(key, name, line.encode(), Reason.UNREADABLE))
            continue
        made = Reason.TOO_LONG if len(line) > MAX_LINE else _headline(line)
        if isinstance(made, Reason):
            entries.append(rejected(key, name, line, made))
        else:
            key = made.available_at
            entries.append(entry_of(made, name))
    return sorted(entries, key=lambda entry: entry[0])


def entry_of(message: Headline | Mood, path: str) -> Entry:
    """Return the entry of a message as it stands in the log from `available_at` on."""
    kind = "headline" if isinstance(message, Headline) else "mood"
    at = message.available_at
    return (at, path, kind, at, msgspec.json.encode(message), None)


def headline_id(source: str, text: str) -> str:
    """Return a headline's identity where it brings none: its source and words.

    >>> headline_id("wire", "Up  5 %") == headline_id("wire", "up 5 %")
    True
    """
    words = " ".join(text.casefold().split())
    return hashlib.sha256(f"{source}\n{words}".encode()).hexdigest()


def _headline(line: bytes) -> Headline | Reason:
    try:
        found = msgspec.json.decode(line, type=_Line)
    except msgspec.ValidationError:
        return Reason.BAD_TYPE
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Reason.UNREADABLE if not line.strip() else Reason.BAD_JSON
    try:
        known = [_nanoseconds(t) for t in (found.available_at, found.published_at)]
    except ValueError:
        return Reason.BAD_VALUE
    available_at, published_at = known[0] or known[1], known[1] or known[0]
    if available_at is None or published_at is None:
        return Reason.BAD_TYPE
    if not found.text.strip():
        return Reason.BAD_VALUE
    return Headline(
        id=found.id or headline_id(found.source, found.text),
        source=found.source,
        lang=found.lang,
        symbols=found.symbols,
        text=found.text,
        published_at=published_at,
        available_at=available_at,
        author_hash=found.author_hash,
        names={symbol: name for symbol, name in found.names.items() if symbol in found.symbols},
    )


def _nanoseconds(time: int | str | None) -> int | None:
    if isinstance(time, str):
        moment = datetime.fromisoformat(time)
        if moment.tzinfo is None:
            raise ValueError("a time without a zone")
        time = (moment - _EPOCH) // timedelta(microseconds=1) * 1000
    if time is not None and not 0 < time <= _MAX_TIME:
        raise ValueError("a time out of range")
    return time


def read_moods(path: Path) -> list[Entry]:
    """Return the daily index of a CSV with the columns timestamp (seconds) and value.

    Source: alternative.me's Crypto Fear & Greed Index; a value is known from its timestamp on.
    """
    return sorted(_moods(path), key=lambda entry: entry[0])


def _moods(path: Path) -> Iterator[Entry]:
    name = str(path)
    key = 0
    header: list[str] | None = None
    for line in read_lines(path):
        if isinstance(line, str):
            yield rejected(key, name, line.encode(), Reason.UNREADABLE)
            continue
        try:  # each line by itself, so that an open quote or a huge field costs one row
            fields = next(csv.reader([line.decode(errors="replace")]), [])
        except csv.Error:
            yield rejected(key, name, line, Reason.UNREADABLE)
            continue
        if header is None or not fields:
            header = header or fields or None
            continue
        row = dict(zip(header, fields, strict=False))
        try:
            at = int(row["timestamp"]) * 1_000_000_000
            value = float(row["value"])
        except (KeyError, ValueError):
            yield rejected(key, name, line, Reason.BAD_TYPE)
            continue
        if not (0 < at <= _MAX_TIME and math.isfinite(value) and 0 <= value <= 100):
            yield rejected(key, name, line, Reason.BAD_VALUE)
            continue
        key = at
        yield entry_of(Mood(source=FEAR_GREED, value=value, available_at=at), name)
