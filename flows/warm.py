"""Begin a live run with the last bars of another one, so that no warm-up is waited for."""

import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import msgspec

from connectors.live import Warm
from connectors.sinks.store import open_store
from models.schema import HISTORY
from operators.checks import BarEntry
from operators.messages import BarQuality

_TRADED = {str(BarQuality.OBSERVED), str(BarQuality.BACKFILLED)}


def warm_entries(path: Path, symbols: tuple[str, ...], interval: int) -> list[Warm]:
    """Return the last bars of `symbols` in a store, with a Clock behind each close, as entries.

    As many closes as a model input reads (187). A bar without trades is left to its Clock,
    which makes it again.

    Raises:
        StoreError: there is no such store.
    """
    with closing(open_store(path, readonly=True)) as store:
        store.row_factory = sqlite3.Row
        closes = [
            close
            for (close,) in store.execute(
                "SELECT DISTINCT ts_close FROM bars WHERE interval = ? "
                "ORDER BY ts_close DESC LIMIT ?",
                (interval, HISTORY),
            )
        ]
        if not closes:
            return []
        rows = store.execute(
            "SELECT * FROM final_bars WHERE ts_close >= ? AND interval = ?", (closes[-1], interval)
        ).fetchall()
    bars: defaultdict[int, list[sqlite3.Row]] = defaultdict(list)
    for row in rows:
        if row["symbol"] in symbols and row["quality"] in _TRADED:
            bars[row["ts_close"]].append(row)
    made: list[Warm] = []
    for close in range(closes[-1], closes[0] + 1, interval):
        for row in sorted(bars[close], key=lambda row: str(row["symbol"])):
            names = BarEntry.__struct_fields__
            entry = BarEntry(**{name: row[name] for name in names})
            made.append(Warm("bar", close, msgspec.json.encode(entry)))
        made.append(Warm("clock", close, b'{"ts_event":%d}' % close))
    return made
