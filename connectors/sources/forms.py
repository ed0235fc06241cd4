"""Tell what a path holds, by its content first and its name second."""

import re
import zlib
from pathlib import Path

from connectors.journal import MAGIC, SUFFIX
from connectors.recorder import SUMS
from connectors.sources.recording import GZIP
from operators.errors import InputError

_SAMPLE = 1 << 16
_RECEIVED = re.compile(rb"^\d{10,19} ", re.MULTILINE)
_OBJECT = re.compile(rb"^\s*\{", re.MULTILINE)
_RECORDING_NAMES = frozenset({".gz", ".ndjson", ".log", ".txt"})


def form_of(path: Path) -> str:
    """Return "recording", "bars", "journal", "headlines" or "mood".

    Raises InputError for a path that is missing or holds nothing known.
    """
    try:
        if path.is_dir():
            form = _form_of_folder(path)
        else:
            with path.open("rb") as file:
                form = _form_of_file(path, file.read(_SAMPLE))
    except FileNotFoundError:
        raise InputError(f"There is no file or folder {path}.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    if form is None:
        message = (
            f"{path} is of no known form: expected a recording (lines of receive time and JSON), "
            "bars as CSV, Parquet or Lean zips, a journal, headlines as JSON lines, or the "
            "Fear & Greed CSV."
        )
        raise InputError(message)
    return form


def _form_of_file(path: Path, sample: bytes) -> str | None:
    if sample.startswith(MAGIC) or path.suffix == SUFFIX:
        return "journal"
    if sample.startswith(b"PAR1") or path.suffix in {".parquet", ".zip"}:
        return "bars"
    if path.suffix == ".csv":
        header = sample.partition(b"\n")[0].lower()
        return "mood" if b"timestamp" in header and b"value" in header else "bars"
    return _form_of_lines(path, _beginning(sample) if sample.startswith(GZIP) else sample)


def _form_of_lines(path: Path, sample: bytes) -> str | None:
    if _RECEIVED.search(sample):
        return "recording"
    if _OBJECT.search(sample):
        return "headlines"
    # Damaged or empty: its name says what it was meant to be.
    return "recording" if path.suffix in _RECORDING_NAMES else None


def _form_of_folder(path: Path) -> str | None:
    names = [entry.suffix for entry in path.iterdir()]
    if SUFFIX in names:
        return "journal"
    if (path / SUMS).is_file():
        return "recording"
    if ".csv" in names or ".parquet" in names:
        return "bars"
    zips = (True for ending in ("trade", "quote") for _ in path.rglob(f"*_{ending}.zip"))
    return "bars" if any(zips) else None


def _beginning(sample: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(sample, _SAMPLE)
    except zlib.error:
        return b""
