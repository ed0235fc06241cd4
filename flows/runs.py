"""A run has an identity, so that a store is resumed only by the run that it belongs to.

The store keeps the current run's row; beside it, in `FILE.recovery`, Bytewax keeps where
that run stands. Both are kept, or thrown away, together.
"""

import hashlib
import shutil
import sqlite3
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from bytewax.recovery import init_db_dir

from connectors.sinks.store import path_of, write_error
from connectors.sinks.tables import TABLES
from flows.settings import Settings
from operators.errors import StoreError
from operators.metrics import Timer

_END = 1 << 20  # bytes of each end of an input that its fingerprint covers


def recovery_folder(path: Path | str) -> Path:
    """Return where Bytewax keeps the recovery state of the run stored at `path`."""
    return Path(f"{path}.recovery")


def recovery_at(folder: Path) -> Path:
    """Return a recovery folder that Bytewax can use, made if it is absent."""
    if not folder.is_dir():
        # Made beside and then renamed: a crash in between leaves no half of it.
        fresh = folder.with_suffix(".fresh")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        init_db_dir(fresh, 1)
        fresh.rename(folder)
    return folder


def describe_inputs(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return each input's name, size and fingerprint: what tells two apart, wherever they lie.

    The fingerprint covers both ends of each file, and names and sizes in a folder.
    """
    return [
        {
            "name": path.name,
            "bytes": sum(file.stat().st_size for file in _files(path)),
            "fingerprint": _fingerprint(path),
        }
        for path in paths
    ]


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _fingerprint(path: Path) -> str:
    hashed = hashlib.sha256()
    for file in _files(path):
        size = file.stat().st_size
        hashed.update(f"{file.name} {size} ".encode())
        with file.open("rb") as content:
            hashed.update(content.read(_END))
            content.seek(max(size - _END, 0))
            hashed.update(content.read(_END))
    return hashed.hexdigest()[:16]


def identity_of(
    settings: Settings, inputs: Sequence[Mapping[str, Any]], models: Sequence[str]
) -> str:
    """Return the hash of all that decides a run: configuration, inputs and models."""
    deciding = (settings.config_hash, settings.symbols, list(inputs), list(models))
    return hashlib.sha256(msgspec.json.encode(deciding, order="sorted")).hexdigest()[:16]


def begin_run(
    store: sqlite3.Connection,
    settings: Settings,
    inputs: Sequence[Mapping[str, Any]],
    models: Sequence[str],
    *,
    overwrite: bool = False,
) -> Literal["fresh", "resume"]:
    """Make the store ready for this run: resume what was interrupted, or start over.

    An unfinished run of the same identity is resumed. A finished one is started over, its
    rows and recovery folder removed; so is any store with `overwrite`.

    Raises:
        StoreError: the store holds a run of another identity.
    """
    identity = identity_of(settings, inputs, models)
    recovery = recovery_folder(path_of(store))
    last = last_run(store)
    if last is not None and not overwrite:
        if last["identity"] != identity:
            _refuse(store, last, settings, inputs, models)
        if last["finished"] is None and recovery.is_dir() and any(recovery.iterdir()):
            _tell_alerts(store, last, settings)
            return "resume"
    try:
        # The folder first: killed in between, the next start finds no folder and starts over.
        shutil.rmtree(recovery, ignore_errors=True)
        if recovery.exists():
            raise StoreError(f"{recovery} cannot be removed; check its permissions")
        store.execute("BEGIN IMMEDIATE")
        for table in TABLES:
            store.execute(f"DELETE FROM {table}")  # noqa: S608 - names are ours
        store.execute(
            TABLES["runs"].upsert,
            (
                uuid.uuid4().hex,
                identity,
                time.time_ns(),
                None,
                settings.profile,
                msgspec.json.encode(settings, order="sorted").decode(),
                msgspec.json.encode(list(inputs), order="sorted").decode(),
                msgspec.json.encode(list(models)).decode(),
                0.0,
                "{}",
            ),
        )
        store.execute("COMMIT")
    except sqlite3.Error as error:
        raise write_error(path_of(store), error) from error
    return "fresh"


def _tell_alerts(store: sqlite3.Connection, last: sqlite3.Row, settings: Settings) -> None:
    """Write down how a resumed run alerts now: it decides nothing, and others read it there."""
    told = msgspec.structs.replace(run_settings(store), alerts=settings.alerts)
    try:
        store.execute(
            "UPDATE runs SET settings = ? WHERE run_id = ?",
            (msgspec.json.encode(told, order="sorted").decode(), last["run_id"]),
        )
    except sqlite3.Error as error:
        raise write_error(path_of(store), error) from error


def end_run(
    store: sqlite3.Connection,
    *,
    finished: bool,
    seconds: float,
    timers: Mapping[str, Timer],
) -> None:
    """Add this process's time to the run, and mark it finished if its input was used up.

    Leave `finished` false after SIGTERM: the next start then resumes it.
    """
    row = last_run(store)
    if row is None:
        raise StoreError(f"{path_of(store)} holds no run to end")
    stages = merge_timers(msgspec.json.decode(row["stages"]), timers)
    try:
        store.execute(
            "UPDATE runs SET finished = ?, seconds = seconds + ?, stages = ? WHERE run_id = ?",
            (
                time.time_ns() if finished else None,
                seconds,
                msgspec.json.encode(stages, order="sorted").decode(),
                row["run_id"],
            ),
        )
    except sqlite3.Error as error:
        raise write_error(path_of(store), error) from error


def last_run(store: sqlite3.Connection) -> sqlite3.Row | None:
    """Return the row of the run this store holds, or None."""
    found: sqlite3.Row | None = store.execute(
        "SELECT * FROM runs ORDER BY started DESC LIMIT 1"
    ).fetchone()
    return found


def run_id(store: sqlite3.Connection) -> str:
    """Return the id of the run that the store holds."""
    row = last_run(store)
    if row is None:
        raise StoreError(f"{path_of(store)} holds no run")
    return str(row["run_id"])


def run_settings(store: sqlite3.Connection) -> Settings:
    """Return the configuration that the stored run was made with."""
    row = last_run(store)
    if row is None:
        raise StoreError(f"{path_of(store)} holds no run; make one with 'nextgen replay'")
    try:
        return msgspec.json.decode(row["settings"], type=Settings)
    except msgspec.ValidationError as error:
        raise StoreError(
            f"{path_of(store)} was made by another version of the engine ({error}); replay again"
        ) from error


def merge_timers(
    stored: Mapping[str, Mapping[str, int]], timers: Mapping[str, Timer]
) -> dict[str, dict[str, int]]:
    """Add up durations by stage and bucket, as the run's row keeps them.

    >>> timer = Timer()
    >>> timer.add(9)
    >>> merge_timers({"risk": {"33": 2}}, {"risk": timer})
    {'risk': {'33': 3}}
    """
    merged = {stage: dict(buckets) for stage, buckets in stored.items()}
    for stage, timer in timers.items():
        buckets = merged.setdefault(stage, {})
        for index, count in enumerate(timer.buckets):
            if count:
                buckets[str(index)] = buckets.get(str(index), 0) + count
    return merged


def _refuse(
    store: sqlite3.Connection,
    last: sqlite3.Row,
    settings: Settings,
    inputs: Sequence[Mapping[str, Any]],
    models: Sequence[str],
) -> None:
    """Say in which part the stored run differs."""
    differs = [
        part
        for part, stored, given in (
            ("inputs", msgspec.json.decode(last["inputs"]), [dict(each) for each in inputs]),
            ("models", msgspec.json.decode(last["models"]), list(models)),
        )
        if stored != given
    ]
    if last["settings"] != msgspec.json.encode(settings, order="sorted").decode():
        differs.append("configuration")
    raise StoreError(
        f"{path_of(store)} holds a run of other {' and '.join(differs) or 'identity'} "
        f"(profile {last['profile']}); name another file with --store, or replace it with "
        "--overwrite"
    )
