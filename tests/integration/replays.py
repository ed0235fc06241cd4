"""Run the engine as a person does: the `nextgen` command in a process of its own."""

import gzip
import json
import os
import sqlite3
import subprocess
import sys
from itertools import islice
from pathlib import Path

from tests.support import DATA, RECORDING

ROOT = DATA.parent
MOOD = DATA / "mood/fear_greed_2024-08.csv"
SHORT = 80_000  # lines: past the warm-up, with some eighty seconds of decisions after it


def command(*arguments, **environment):
    """Return the command line and the options of a `nextgen` process."""
    return (
        [sys.executable, "-m", "flows.cli", *map(str, arguments)],
        {
            "cwd": ROOT,
            "env": os.environ | {"COLUMNS": "100"} | environment,
            "stdin": subprocess.DEVNULL,
        },
    )


def nextgen(*arguments, code=0, **environment):
    """Run `nextgen`, expect its exit code, and return its output."""
    line, options = command(*arguments, **environment)
    done = subprocess.run(line, capture_output=True, text=True, check=False, **options)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def replay(store, *inputs, profile="demo", **environment):
    """Replay as fast as possible and return the summary; inputs may hold further options."""
    return json.loads(
        nextgen("replay", *inputs, "--profile", profile, "--store", store, "--json", **environment)
    )


def digest(store):
    """Return the digest of a store."""
    return nextgen("digest", store).strip()


def recorded(lines=None):
    """Return the recording's first lines, as bytes."""
    with gzip.open(RECORDING) as file:
        return list(islice(file, lines))


def write(path: Path, lines):
    """Write lines as a plain recording, and return its path."""
    path.write_bytes(b"".join(lines))
    return path


def rows(store, query, *values):
    """Return what a query finds in a store."""
    connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
    try:
        return connection.execute(query, values).fetchall()
    finally:
        connection.close()


def decisions(store):
    """Return what was decided, without identities: they change with any input."""
    return rows(
        store,
        "SELECT symbol, ts_close, action, score, confidence, target_position, price "
        "FROM signals ORDER BY ts_close, symbol",
    )
