"""Rows that a store would not take, as lines of JSON for a person to look at.

*At least once; a line may be repeated after a crash.*
"""

import os
from collections import Counter
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
import structlog

from connectors.sinks.tables import TABLES
from connectors.sinks.writers import Row
from operators.errors import StoreError

FILE_NAME = "refused.jsonl"  # beside the outbox
MAX_BYTES = 64 << 20  # of one file; the one before it is kept as refused.jsonl.1
SHOWN = 20  # of a store, that are logged one by one; all are in the file


class RefusedRows:
    """Append refused rows to `path`; any thread may call it.

    A line is {"store", "table", "row" by column, "why"}; bytes are base64.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        """Take the file, which is made when the first row is refused."""
        self.path = path
        self.max_bytes = max_bytes
        self._lock = Lock()
        self._shown: dict[str, int] = {}
        self._log = structlog.get_logger(__name__)

    def add(self, store: str, table: str, row: Row, why: str) -> None:
        """Write the row to disk and log it. Raises StoreError where it cannot be written."""
        line = _line({"store": store, "table": table, "row": _named(table, row), "why": why})
        with self._lock:
            try:
                self._append(line)
            except OSError as error:
                message = f"refused rows cannot be kept in {self.path}: {error.strerror}; make room"
                raise StoreError(message) from error
            self._shown[store] = shown = self._shown.get(store, 0) + 1
        if shown <= SHOWN:
            self._log.error("row_refused", store=store, table=table, why=why, file=str(self.path))

    def _append(self, line: bytes) -> None:
        if self.path.exists() and self.path.stat().st_size + len(line) > self.max_bytes:
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        with self.path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())  # the store's reader goes past the row now


class _Line(msgspec.Struct):
    store: str


def count_refused(path: Path) -> Counter[str]:
    """Return how many lines the file at `path`, and the one before it, hold of each store."""
    found: Counter[str] = Counter()
    for each in (path.with_name(f"{path.name}.1"), path):
        if each.exists():
            with each.open("rb") as lines:
                found.update(_line_of(line).store for line in lines if line.endswith(b"\n"))
    return found


_line_of = msgspec.json.Decoder(_Line).decode


def _named(table: str, row: Row) -> Any:
    """Return the row by its columns' names, or as it is where it does not fit them."""
    names = TABLES[table].names if table in TABLES else ()
    return dict(zip(names, row, strict=True)) if len(names) == len(row) else list(row)


def _line(fields: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(fields) + b"\n"
    except (TypeError, ValueError, OverflowError):  # no value JSON has: as Python shows it
        return msgspec.json.encode({**fields, "row": ascii(fields["row"])}) + b"\n"
