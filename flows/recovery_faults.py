"""Bytewax's recovery store fails with a panic of its own; say in one sentence what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from operators.errors import StoreError

_OF_SQLITE = "SqliteFailure"  # in the text of the panic, which has no other form


@contextmanager
def telling_of(recovery: Path | None) -> Iterator[None]:
    """Raise StoreError where the block's flow cannot use the `recovery` folder."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if recovery is None or _OF_SQLITE not in text:
            raise
        if "DiskFull" in text:
            why = "the disk is full; make room and start again, the run will resume"
        else:
            why = f"check its permissions, and that no other process uses it ({text})"
        raise StoreError(f"{recovery} could not be written: {why}") from error
