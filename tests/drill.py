"""A drill: the engine live against the fake venue in processes of their own, then the accounts.

The venue knows every trade that happened (`/exchange/truth`); the store must know each of them
once, in a bar or as missing in the gap ledger.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import fsum

from tests.integration.replays import ROOT, command, digest, nextgen, replay, rows

SECOND = 1_000_000_000
READY = 60.0  # seconds within which the venue must listen


class Venue:
    """The fake venue in a process of its own."""

    def __init__(self, process, url):
        self.process = process
        self.url = url

    def get(self, path):
        with urllib.request.urlopen(f"{self.url}/exchange/{path}", timeout=60) as answer:
            return json.load(answer)

    def post(self, path, body=None):
        request = urllib.request.Request(
            f"{self.url}/exchange/{path}", json.dumps(body or {}).encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


@contextmanager
def venue(*options):
    """Run the venue, and end it."""
    line = [sys.executable, "-m", "exchange", "--port", "0", *map(str, options)]
    process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        told = process.stdout.readline()
        assert told.startswith("listening on "), told
        yield Venue(process, told.split()[-1])
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


@contextmanager
def engine(venue_, store, *options, profile="binance", output=None, **environment):
    """Run `nextgen run` against the venue; end it by SIGTERM when left."""
    line, how = command(
        "run", "--profile", profile, "--exchange", venue_.url, "--store", store, "--quiet",
        *options, **environment,
    )  # fmt: skip
    process = subprocess.Popen(line, stdout=output, stderr=output, **how)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)


def until(condition, seconds=READY, every=0.2):
    """Wait until `condition` is true; fail when it takes too long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(every)
    raise AssertionError(f"not within {seconds} s: {condition}")


@dataclass
class Accounts:
    """What became of every trade of the venue that lies between the engine's first and last bar."""

    trades: int = 0
    in_bars: int = 0
    missing: int = 0  # of those, in the ledger as not filled
    wrong: list = field(default_factory=list)  # bars that differ from the venue's trades
    qualities: dict = field(default_factory=dict)


def account(venue_, store, symbols):
    """Compare the final bars with the venue's trades."""
    accounts = Accounts()
    last = rows(store, "SELECT max(ts_close) FROM bars")[0][0]
    qualities = defaultdict(int)
    for symbol in symbols:
        bars = rows(
            store,
            "SELECT ts_close, open, high, low, close, volume, trades, vwap, quality "
            "FROM final_bars WHERE symbol = ? ORDER BY ts_close",
            symbol,
        )
        assert bars, f"{symbol} has no bar"
        # The first bar began before the engine listened; nothing precedes it to tell a hole.
        bars = bars[1:]
        first = bars[0][0] - SECOND
        found = venue_.get(f"truth?symbol={symbol}&from_ms={first // 10**6}&to_ms={last // 10**6}")
        by_close = defaultdict(list)
        for row in found:
            by_close[(row[1] * 10**6 // SECOND + 1) * SECOND].append(row)
        accounts.trades += len(found)
        held = {}
        for ts_close, *prices, volume, trades, vwap, quality in bars:
            qualities[quality] += 1
            held[ts_close] = trades
            accounts.in_bars += trades
            expected = by_close.get(ts_close, [])
            if quality != "gap" and not _equal(expected, prices, volume, trades, vwap):
                accounts.wrong.append((symbol, ts_close, quality, trades, len(expected)))
        for ts_close, expected in by_close.items():
            if ts_close not in held:
                accounts.wrong.append((symbol, ts_close, "absent", 0, len(expected)))
    accounts.missing = rows(
        store, "SELECT coalesce(sum(last_id - first_id + 1 - filled), 0) FROM gaps"
    )[0][0]
    accounts.qualities = dict(qualities)
    return accounts


def _equal(expected, prices, volume, trades, vwap):
    if trades != len(expected):
        return False
    if not expected:
        return volume == 0.0
    values = [float(row[2]) for row in sorted(expected)]
    sizes = [float(row[3]) for row in sorted(expected)]
    whole = fsum(sizes)
    turnover = fsum(p * s for p, s in zip(values, sizes, strict=True))
    average = min(max(turnover / whole, min(values)), max(values))
    return prices == [values[0], max(values), min(values), values[-1]] and (
        (volume, vwap) == (whole, average)
    )


def holes(store):
    """Return the gap ledger's holes as dictionaries."""
    names = ("feed", "symbol", "cause", "ts_from", "ts_to", "state", "found_at", "resolved_at")
    found = rows(store, f"SELECT {', '.join(names)} FROM holes ORDER BY ts_from, symbol")
    return [dict(zip(names, row, strict=True)) for row in found]


def health(store, feed="binance"):
    """Return counters and gauges of a feed as they were stored last."""
    [(state, counts, gauges)] = rows(
        store, "SELECT state, counts, gauges FROM feeds WHERE feed = ?", feed
    )
    return state, json.loads(counts), json.loads(gauges)


def copies(count):
    """Return the first `count` symbols of the venue: recorded ones and their shifted copies."""
    with venue("--symbols", count, "--hold") as asked:
        return tuple(asked.get("truth")["symbols"])


def environment():
    """Return the environment for measurements: one thread for each library."""
    return os.environ | {"OMP_NUM_THREADS": "1"}


@dataclass
class Drill:
    """What a drill found: everything its tests and its report look at."""

    accounts: Accounts
    holes: list
    faults: list
    breaches: dict
    counts: dict
    gauges: dict
    summary: dict
    live: str = ""  # digest of the run
    replayed: str = ""  # and of what it recorded


def drill(folder, *, symbols, seconds, seed, quiet_end, speed=1.0, kinds=None, kill_at=None):
    """Run the engine for `seconds` of the venue's time against seeded faults, and look.

    Faults end `quiet_end` seconds before the end, so that all can be repaired. `kill_at` are
    moments (seconds of ours) at which the engine is killed outright, to be begun again.
    """
    store, recording = folder / "live.sqlite", folder / "recording"
    chosen = ("--chaos-kinds", ",".join(kinds)) if kinds else ()
    options = (
        "--symbols", symbols, "--copy-delay-ms", 20, "--speed", speed, "--chaos", seed,
        "--chaos-seconds", seconds - quiet_end, *chosen,
    )  # fmt: skip
    with venue(*options) as place, (folder / "engine.log").open("w") as output:
        names = tuple(place.get("truth")["symbols"])
        begin = place.get("truth")["venue_time_ms"]

        def left():
            return seconds - (place.get("truth")["venue_time_ms"] - begin) / 1000

        wanted = ("--symbols", ",".join(names), "--speed", speed, "--record", recording)
        began = time.monotonic()
        for moment in kill_at or ():
            with engine(place, store, *wanted, output=output) as process:
                until(lambda at=moment: time.monotonic() - began > at, moment + READY)
                assert process.poll() is None
                process.kill()
                process.wait()
        with engine(place, store, *wanted, output=output) as process:
            until(lambda: left() <= 0 or process.poll() is not None, 2 * seconds / speed + READY)
            assert process.poll() is None, (folder / "engine.log").read_text()
        found = Drill(
            accounts=account(place, store, names),
            holes=holes(store),
            faults=place.get("faults"),
            breaches=place.get("rules")["breaches"],
            counts=health(store)[1],
            gauges=health(store)[2],
            summary=json.loads(nextgen("summary", store, "--json")),
        )
    found.live = digest(store)
    replay(folder / "again.sqlite", recording, "--symbols", ",".join(names), profile="binance")
    found.replayed = digest(folder / "again.sqlite")
    return found


def silent_signals(store, found):
    """Return signals decided inside a hole that its feed knew of, and that do not say so."""
    silent = []
    for hole in found.holes:
        if hole["cause"] == "ids":  # some trades of a feed that goes on: no outage
            continue
        decided = rows(
            store,
            "SELECT ts_close, reasons FROM signals WHERE symbol = ? AND ts_close > ? "
            "AND ts_close < ?",
            hole["symbol"],
            hole["found_at"],
            (hole["ts_to"] or hole["found_at"]) - SECOND,
        )
        silent += [(hole["symbol"], at) for at, reasons in decided if "gap" not in reasons]
    return silent
