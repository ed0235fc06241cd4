"""A clean live log made from the shipped recording, and the same log with an outage in it."""

from bisect import bisect_left
from functools import cache
from itertools import islice

import msgspec

from connectors.sources.inputs import ReplayInputs, iterate
from operators.messages import SECOND, Clock, Hole, HoleState, Raw
from tests.support import RECORDING

OFFSET = 1_270_000_000  # the recorder's clock ran behind by this
LATENESS = 250_000_000
FETCHED = 180_000_000  # from when messages come again until the last page is there


@cache
def clean(lines):
    """Return the log of a run that nothing disturbed, with the Clocks of a sequencer."""
    log = []
    closed = None
    for raw in islice(iterate(ReplayInputs([RECORDING])), lines):
        at = raw.ts_init + OFFSET
        due = (at - LATENESS) // SECOND * SECOND
        for boundary in range(closed + SECOND if closed else due, due + 1, SECOND):
            payload = msgspec.json.encode(Clock(ts_event=boundary))
            log.append(("sequencer", "clock", boundary + LATENESS, payload))
        closed = max(closed or 0, due)
        log.append(("binance", "binance", at, raw.payload))
    return tuple(log)


def numbered(entries):
    """Return entries as a log."""
    return [
        Raw(offset=n, path=path, kind=kind, ts_init=at, payload=payload)
        for n, (path, kind, at, payload) in enumerate(entries)
    ]


def symbol_of(payload):
    return payload[11 : payload.index(b"@")].decode().upper()


def page(symbol, missed):
    """Return what REST tells of trades missed, in its own form."""
    rows = []
    for payload in missed:
        data = msgspec.json.decode(payload)["data"]
        if data.get("e") == "trade":
            rows.append(
                {
                    "id": data["t"],
                    "price": data["p"],
                    "qty": data["q"],
                    "time": data["T"],
                    "isBuyerMaker": data["m"],
                    "isBestMatch": True,
                }
            )
    return rows, msgspec.json.encode({"symbol": symbol, "stream": "trade", "trades": rows})


def disturbed(entries, begin, end, symbols, *, detected=SECOND // 20, fetch=True, after=FETCHED):
    """Return the log with every message of `symbols` lost in [begin, end), by receipt.

    The cut is seen after `detected`; what was missed is fetched from `end` on and is there
    `after` later, if `fetch`.
    """
    kept, missed = [], {symbol: [] for symbol in symbols}
    before = dict.fromkeys(symbols, begin)
    for path, kind, at, payload in entries:
        symbol = symbol_of(payload) if kind == "binance" else None
        if symbol in missed:
            if begin <= at < end:
                missed[symbol].append(payload)
                continue
            if at < begin:
                before[symbol] = at
        kept.append((path, kind, at, payload))
    added = []
    for symbol in symbols:
        hole = Hole(
            feed="binance",
            symbol=symbol,
            cause="cut",
            ts_from=before[symbol],
            ts_to=None,
            state=HoleState.OPEN,
            found_at=begin + detected,
        )
        if detected < end - begin:
            added.append(("binance", "hole", begin + detected, msgspec.json.encode(hole)))
        ended = msgspec.structs.replace(hole, state=HoleState.ENDED, ts_to=end)
        added.append(("binance", "hole", end, msgspec.json.encode(ended)))
        if not fetch:
            continue
        rows, payload = page(symbol, missed[symbol])
        if rows:
            added.append(("binance", "binance_rest", end + after - 1, payload))
        filled = msgspec.structs.replace(
            ended,
            state=HoleState.FILLED,
            trades=len(rows),
            resolved_at=end + after,
            first_id=rows[0]["id"] if rows else None,
            last_id=rows[-1]["id"] if rows else None,
        )
        added.append(("binance", "hole", end + after, msgspec.json.encode(filled)))
    times = [at for _, _, at, _ in kept]  # ascending, but for jitter of microseconds
    for entry in sorted(added, key=lambda one: one[2], reverse=True):
        kept.insert(bisect_left(times, entry[2]), entry)
    return kept
