"""A real recording as a feed that broke would have delivered it: holes, then fetched pages."""

import gzip
import json
from itertools import islice

import msgspec

from operators.messages import Hole, HoleState, Raw
from tests.support import RECORDING

BEHIND = 1_270_000_000  # what the recording's clock ran behind the venue's


def recorded(lines):
    """Return (receive time, payload) of the recording's first lines."""
    with gzip.open(RECORDING) as file:
        rows = (line.rstrip(b"\n").split(b" ", 1) for line in islice(file, lines))
        return [(int(ts), payload) for ts, payload in rows]


def hole(symbol, ts_from, ts_to=None, state=HoleState.OPEN, feed="binance"):
    """Return a hole; times as the recorder took them."""
    return Hole(
        feed=feed,
        symbol=symbol,
        cause="cut",
        ts_from=ts_from + BEHIND,
        ts_to=None if ts_to is None else ts_to + BEHIND,
        state=state,
        found_at=ts_from + BEHIND,
    )


def page(symbol, payloads):
    """Return the page of trades that the venue gives for stream messages which were missed."""
    rows = [json.loads(payload) for payload in payloads]
    trades = [
        {
            "id": row["t"],
            "price": row["p"],
            "qty": row["q"],
            "quoteQty": "0",
            "time": row["T"],
            "isBuyerMaker": row["m"],
            "isBestMatch": True,
        }
        for row in (row.get("data", row) for row in rows)
    ]
    return json.dumps({"symbol": symbol, "stream": "trade", "trades": trades}).encode()


class Outage:
    """One symbol's messages missing from line `begin` to `end`, fetched by line `filled`."""

    def __init__(self, symbol, begin, end, filled, *, quotes=False, state=HoleState.FILLED):
        self.symbol, self.begin, self.end, self.filled = symbol, begin, end, filled
        self.quotes, self.state = quotes, state
        self.missed = []
        self.times = [0, 0]

    def takes(self, number, payload):
        """Say whether a message is lost, and remember it if it can be fetched."""
        if not self.begin <= number < self.end:
            return False
        data = json.loads(payload)
        data = data.get("data", data)
        if data["s"] != self.symbol:
            return False
        if data.get("e") == "trade":
            self.missed.append(payload)
            return True
        return self.quotes

    def tells(self, number, ts):
        """Yield what the feed writes into the log before line `number`."""
        if number == self.begin:
            self.times[0] = ts
            yield "hole", hole(self.symbol, ts)
        elif number == self.end:
            self.times[1] = ts
            yield "hole", hole(self.symbol, *self.times, HoleState.ENDED)
        elif number == self.filled:
            if self.state is HoleState.FILLED:
                for first in range(0, len(self.missed), 50):
                    yield "binance_rest", page(self.symbol, self.missed[first : first + 50])
            yield "hole", hole(self.symbol, *self.times, self.state)


def log(rows, outages=()):
    """Yield the log that feeds with these outages would have left."""
    offset = 0
    for number, (ts, payload) in enumerate(rows):
        told = [each for outage in outages for each in outage.tells(number, ts)]
        if not any(outage.takes(number, payload) for outage in outages):
            told.append(("binance", payload))
        for kind, message in told:
            offset += 1
            body = message if isinstance(message, bytes) else msgspec.json.encode(message)
            yield Raw(offset=offset, path="a", kind=kind, ts_init=ts, payload=body)
