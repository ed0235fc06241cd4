"""Golden replays: what was decided when the models were last shipped.

`python -m tests.integration.golden` (make golden) rewrites them, after a wanted change only.
"""

import json
import tempfile
from contextlib import closing
from pathlib import Path

from connectors.sinks.store import open_store
from flows.engine import run_replay
from flows.settings import load_profile
from tests.integration import replays
from tests.support import DATA, EQKER

GOLDEN = Path(__file__).parents[1] / "data/golden"
COLUMNS = "symbol, ts_close, action, score, confidence, target_position, approved, price"


def cases(folder):
    """Yield (name, settings, paths): the short recording, and two symbols of one-minute bars."""
    short = replays.write(folder / "short.ndjson", replays.recorded(replays.SHORT))
    yield "binance", load_profile("demo"), [short, DATA / "mood/fear_greed_2024-08.csv"]
    symbols = ("MSFT", "SPY")
    paths = [EQKER / f"{symbol}_1min.csv" for symbol in symbols]
    yield "equities", load_profile("equities", symbols=symbols), paths


def decided(settings, paths, store):
    """Replay and return every hundredth part of what was decided, and all that was traded."""
    run_replay(settings, paths, store)
    with closing(open_store(store, readonly=True)) as opened:
        query = f"SELECT {COLUMNS} FROM signals ORDER BY ts_close, symbol"
        found = [list(row) for row in opened.execute(query)]
    return [row for number, row in enumerate(found) if row[2] != "HOLD" or number % 20 == 0]


def main():
    """Rewrite the golden files."""
    GOLDEN.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case, settings, paths in cases(folder):
            rows = decided(settings, paths, folder / f"{case}.sqlite")
            lines = ",\n".join(json.dumps(row) for row in rows)
            (GOLDEN / f"{case}.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
