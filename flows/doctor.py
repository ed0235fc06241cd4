"""Is this machine fit to run the engine? Each check says what was expected, found and to do."""

import json
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from models import runtime

PYTHON = (3, 12)
BYTEWAX = "0.21.1"
NEEDED = (
    "bytewax",
    "exchange-calendars",
    "msgspec",
    "numpy",
    "onnxruntime",
    "polars",
    "rich",
    "structlog",
    "ta-lib",
    "tokenizers",
    "typer",
)
OPTIONAL = ("torch", "transformers", "stable-baselines3")  # only training needs them
LEAST_DISK = 500 * 1024 * 1024  # a day of one-second signals of fifty symbols is more
# The engine is newer than this; a clock before it was never set.
RELEASED = datetime(2024, 8, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Check:
    """One finding; `found` says what to do where `ok` is false."""

    name: str
    ok: bool
    found: str


def checks(models: Path = runtime.ONNX, folder: Path | None = None) -> list[Check]:
    """Run all checks; `folder` is where stores will be written (default: here)."""
    folder = Path.cwd() if folder is None else folder
    parts: tuple[Callable[[], Iterator[Check]], ...] = (
        _python,
        _packages,
        lambda: _models(models),
        lambda: _sqlite(folder),
        _clock,
        lambda: _disk(folder),
    )
    return [check for part in parts for check in part()]


def print_checks(*, as_json: bool) -> bool:
    """Print every check; return whether all are well."""
    found = checks()
    if as_json:
        print(json.dumps([asdict(check) for check in found]))  # noqa: T201 - the output
    else:
        table = Table(box=None, padding=(0, 1), show_header=False)
        for check in found:
            mark = "[green]ok[/]" if check.ok else "[bold red]NO[/]"
            table.add_row(mark, check.name, Text(check.found))
        Console().print(table)
    return all(check.ok for check in found)


def _python() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info[:2] == PYTHON
    yield Check("Python", ok, version if ok else f"{version}; Bytewax {BYTEWAX} needs 3.12")


def _packages() -> Iterator[Check]:
    for name in NEEDED:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Check(name, ok=False, found="absent; run 'make install'")
            continue
        ok = name != "bytewax" or version == BYTEWAX
        yield Check(
            name, ok, version if ok else f"{version}; expected {BYTEWAX}, run 'make install'"
        )
    for name in OPTIONAL:
        try:
            yield Check(name, ok=True, found=f"{metadata.version(name)} (training only)")
        except metadata.PackageNotFoundError:
            yield Check(name, ok=True, found="absent (training only)")


def _models(folder: Path) -> Iterator[Check]:
    try:
        manifest = runtime.read_manifest(folder)
    except runtime.ModelError as error:
        yield Check("models", ok=False, found=str(error))
        return
    for name, entry in sorted(manifest.items()):
        try:
            artefact = runtime.load(
                name, kind=entry["kind"], interval=entry.get("interval_ns"), folder=folder
            )
            artefact.session()
        except runtime.ModelError as error:
            yield Check(f"model {name}", ok=False, found=str(error))
        except KeyError as error:
            yield Check(
                f"model {name}", ok=False, found=f"its entry has no {error}; run 'make train'"
            )
        else:
            yield Check(f"model {name}", ok=True, found=f"SHA-256 {entry['sha256'][:12]}…")


def _sqlite(folder: Path) -> Iterator[Check]:
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-") as inside:
            store = sqlite3.connect(Path(inside) / "probe.sqlite")
            mode = store.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            store.execute("CREATE TABLE probe (x)")
            store.close()
    except (OSError, sqlite3.Error) as error:
        yield Check(
            "store", ok=False, found=f"{folder} cannot hold one: {error}; use another folder"
        )
        return
    ok = mode == "wal"
    yield Check(
        "store",
        ok,
        f"SQLite {sqlite3.sqlite_version} with WAL"
        if ok
        else f"no WAL in {folder} (network file system?): use a local folder",
    )


def _clock() -> Iterator[Check]:
    now = datetime.now(UTC)
    begin, begin_wall = time.monotonic_ns(), time.time_ns()
    time.sleep(0.05)
    drift = abs((time.time_ns() - begin_wall) - (time.monotonic_ns() - begin))
    ok = now > RELEASED and drift < 20_000_000
    yield Check(
        "clock",
        ok,
        f"{now:%Y-%m-%d %H:%M:%S} UTC, steady"
        if ok
        else f"{now:%Y-%m-%d %H:%M:%S} UTC, off by "
        f"{drift / 1e6:.0f} ms within 50 ms or never set; turn NTP on",
    )


def _disk(folder: Path) -> Iterator[Check]:
    free = shutil.disk_usage(folder).free
    ok = free >= LEAST_DISK
    gib = f"{free / 1024**3:,.1f} GiB free in {folder}"
    yield Check("disk", ok, gib if ok else f"{gib}; make room for at least 0.5 GiB")
