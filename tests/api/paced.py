"""A replay at a multiple of true speed in a process of its own, as the demo is.

`python -m tests.api.paced STORE SPEED FAST_SECONDS SYMBOLS PATH...` goes through the first seconds
of the recording at once, then at SPEED; SYMBOLS is A,B or "demo" for the profile's.
"""

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from flows.commands_run import first_receive_time
from flows.engine import run_replay
from flows.settings import load_profile
from operators.messages import SECOND
from tests.integration import replays

WARM = 200  # seconds of the recording, past the warm-up


def main():
    """Replay."""
    store, speed, fast, symbols, *paths = sys.argv[1:]
    universe = None if symbols == "demo" else tuple(symbols.split(","))
    inputs = [Path(path) for path in paths]
    begin = first_receive_time(inputs[0])
    finished = run_replay(
        load_profile("demo", symbols=universe),
        inputs,
        Path(store),
        speed=None if speed == "max" else float(speed),
        fast_until=begin + int(fast) * SECOND,
    )
    sys.stdout.write(json.dumps({"finished": finished}))


@contextmanager
def paced(store, *paths, speed=10, fast=WARM, symbols=()):
    """Yield the process of a paced replay; it is ended if it has not ended by itself."""
    _, options = replays.command()
    universe = ",".join(symbols) or "demo"
    given = map(str, (store, speed, fast, universe, *paths))
    line = [sys.executable, "-m", "tests.api.paced", *given]
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until(true, seconds=180.0, process=None):
    """Wait until `true()` gives something, and return it."""
    end = time.monotonic() + seconds
    while not (found := true()):
        if process is not None and process.poll() is not None:
            raise AssertionError(f"the run has ended: {process.communicate()}")
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)
    return found


if __name__ == "__main__":
    main()
