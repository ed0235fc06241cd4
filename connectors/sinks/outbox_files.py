"""What stands in an outbox: its entries, where each reader is, and what a reader has lost."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from connectors.sinks.writers import Row
from operators.errors import StoreError
from operators.messages import Raw

_CURSOR, _OVERRUN = ".cursor", ".overrun"


class Stand(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A place between two entries, and what lies before it.

    `offset` is that of the next entry; `ts` the newest bar close before it, in ns (0: none).
    """

    offset: int = 0
    rows: int = 0
    bytes: int = 0
    ts: int = 0


class Overrun(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Rows that a store never got, because the outbox was full or damaged.

    They are of bars that close from `since` to `until`, ns; there may be others between.
    """

    rows: int = 0
    since: int = 0
    until: int = 0


class Content(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The payload of an entry: its rows, and what lies before them."""

    rows_before: int
    bytes_before: int
    ts_before: int
    bytes: int
    rows: list[tuple[str, tuple[Any, ...]]]

    def before(self, raw: Raw) -> Stand:
        """Return the place before the entry `raw`."""
        return Stand(raw.offset, self.rows_before, self.bytes_before, self.ts_before)

    def after(self, raw: Raw) -> Stand:
        """Return the place behind the entry `raw`."""
        rows, size = self.rows_before + len(self.rows), self.bytes_before + self.bytes
        return Stand(raw.offset + 1, rows, size, raw.ts_init)


content_of = msgspec.msgpack.Decoder(Content).decode

# NumPy's numbers become Python's: stores know no others.
_encode = msgspec.msgpack.Encoder(enc_hook=lambda value: value.item()).encode


def row_bytes(table: str, row: Row) -> msgspec.Raw:
    """Return a row for `entry_bytes`. Raises what no outbox can hold: see `UNWRITABLE`."""
    return msgspec.Raw(_encode((table, row)))


# An integer over 64 bits, a lone surrogate, an object.
UNWRITABLE = (OverflowError, ValueError, TypeError, AttributeError)


def entry_bytes(before: Stand, size: int, rows: Sequence[msgspec.Raw]) -> bytes:
    """Return the payload of an entry of `rows`, `size` bytes together, that follow `before`."""
    return _encode((before.rows, before.bytes, before.ts, size, rows))


def load_cursor(folder: Path, reader: str) -> Stand | None:
    """Return where a reader stood, None for a new one or where its file is broken."""
    try:
        return msgspec.json.decode((folder / f"{reader}{_CURSOR}").read_bytes(), type=Stand)
    except (FileNotFoundError, msgspec.DecodeError):  # it begins again: repeats do no harm
        return None


def cursors(folder: Path) -> dict[str, Stand]:
    """Return where every reader stood, also those that are not configured now."""
    names = sorted(path.name.removesuffix(_CURSOR) for path in folder.glob(f"*{_CURSOR}"))
    found = {name: load_cursor(folder, name) for name in names}
    return {name: stand for name, stand in found.items() if stand is not None}


def save_cursor(folder: Path, reader: str, stand: Stand, *, sync: bool = False) -> None:
    """Keep where a reader stands; `sync`: also over a power cut."""
    _replace(folder / f"{reader}{_CURSOR}", msgspec.json.encode(stand), sync=sync)


def overruns(folder: Path) -> dict[str, Overrun]:
    """Return what each store has lost for good; a mark stays until a person deletes its file.

    Raises StoreError for a mark that cannot be read.
    """
    found = {}
    for path in sorted(folder.glob(f"*{_OVERRUN}")):
        try:
            mark = msgspec.json.decode(path.read_bytes(), type=Overrun)
        except (OSError, msgspec.DecodeError) as error:
            message = f"{path} says that a store has lost rows, but cannot be read: {error}"
            raise StoreError(message) from error
        found[path.name.removesuffix(_OVERRUN)] = mark
    return found


def save_overrun(folder: Path, reader: str, overrun: Overrun) -> None:
    """Mark that a store has lost rows."""
    _replace(folder / f"{reader}{_OVERRUN}", msgspec.json.encode(overrun), sync=True)


def clear_overrun(folder: Path, reader: str, known: Overrun) -> None:
    """Remove the mark of what a store has lost, unless it tells of more than is `known`."""
    if overruns(folder).get(reader) == known:
        (folder / f"{reader}{_OVERRUN}").unlink()


def _replace(path: Path, content: bytes, *, sync: bool) -> None:
    new = path.with_name(f"{path.name}.new")
    with new.open("wb") as file:
        file.write(content)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    new.replace(path)
