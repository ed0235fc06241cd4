"""Live speed over real sockets: 50 symbols of the fake venue through the whole engine.

The venue runs in a process of its own, on a core of its own if there are two. It serves the
recorded messages of two symbols, and shifted copies of them under further names, at the
present time. Run by `make bench`; nothing else should be running.
"""

import argparse
import socket
import tempfile
import time
import urllib.request
from contextlib import closing
from functools import partial
from pathlib import Path

from connectors.sinks.store import open_store
from flows.summary import summarise
from tests.drill import account, engine, health, until, venue

SYMBOLS = 50
RATES = (2_000, 4_000, 6_000, 8_000, 12_000)  # trades/s; quotes come on top
WARM = 30.0  # seconds that do not count: the last copy begins 18 s after the first


def main():
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=300.0)
    options.add_argument("--rate", type=int, default=1_000, help="trades/s, all symbols")
    options.add_argument("--hold", type=float, default=60.0, help="seconds a rate must hold")
    options.add_argument("--no-search", action="store_true")
    asked = options.parse_args()
    steady(asked.rate, asked.seconds)
    if not asked.no_search:
        search(asked.hold)


def steady(rate, seconds):
    """Run at one rate, and show that nothing was dropped and how long things took."""
    with tempfile.TemporaryDirectory() as folder, serving(rate) as (place, symbols):
        store = Path(folder) / "live.sqlite"
        with engine(place, store, *wanted(symbols), "--seconds", seconds) as process:
            process.wait(seconds + 120)
        found = account(place, store, symbols)
        _, counts, _ = health(store)
        with closing(open_store(store, readonly=True)) as opened:
            stages = summarise(opened)["stages"]
        print(f"live, {rate:,} trades/s asked for, {SYMBOLS} symbols, {seconds:.0f} s")
        print(f"  messages        {counts['messages']:,} ({counts['messages'] / seconds:,.0f}/s)")
        print(
            f"  trades          {found.trades:,} of the venue, {found.in_bars:,} in bars, "
            f"{found.missing} missing, {len(found.wrong)} bars differ, {counts.get('shed', 0)} shed"
        )
        for name in ("received_to_checked", "clock_to_features", "clock_to_decision", "forecast"):
            told = stages.get(name)
            if told is not None:
                print(f"  {name:<20} p50 {told['p50_ms']:.2f} ms, p99 {told['p99_ms']:.2f} ms")
        breaches = place.get("rules")["breaches"]
        print(f"  rules broken    {breaches or 'none'}")


def search(seconds):
    """Find the highest rate that holds without a growing queue."""
    best = None
    for rate in RATES:
        with tempfile.TemporaryDirectory() as folder, serving(rate) as (place, symbols):
            store = Path(folder) / "live.sqlite"
            port = free_port()
            extra = ("--metrics-port", port, "--seconds", seconds + WARM + 20)
            with engine(place, store, *wanted(symbols), *extra) as process:
                until(partial(metric, port, "nextgen_feed_events_total"), 60)
                time.sleep(WARM)
                before = metric(port, "nextgen_feed_events_total")
                begin, waiting, lag = time.monotonic(), [], []
                while time.monotonic() - begin < seconds and process.poll() is None:
                    time.sleep(1.0)
                    waiting.append(metric(port, "nextgen_inbox_messages") or 0)
                    lag.append(metric(port, "nextgen_feed_gauge", 'name="lag_seconds"') or 0)
                took = time.monotonic() - begin
                messages = (metric(port, "nextgen_feed_events_total") - before) / took
                shed = metric(port, "nextgen_inbox_shed_total") or 0
        third = len(waiting) // 3
        # A queue that grows, or a venue heard a second late, has not held.
        first, last = max(waiting[:third]), max(waiting[-third:])
        held = last <= max(2 * first, messages / 2) and max(lag[-third:]) < 1.0 and not shed
        print(
            f"  {rate:>6,} trades/s: {messages:,.0f} messages/s, queue at most {last:,.0f}, "
            f"lag {max(lag[-third:]):.3f} s, {'holds' if held else 'does not hold'}"
        )
        if not held:
            break
        best = (rate, messages)
    if best is not None:
        print(f"highest that held {seconds:.0f} s: {best[0]:,} trades/s, {best[1]:,.0f} messages/s")


def serving(rate):
    """Serve the present at a rate; give the venue and its symbols."""
    return _Serving(rate)


class _Serving:
    def __init__(self, rate):
        self.inner = venue("--symbols", SYMBOLS, "--clock", "live", "--rate", rate)

    def __enter__(self):
        place = self.inner.__enter__()
        return place, tuple(place.get("truth")["symbols"])

    def __exit__(self, *error):
        return self.inner.__exit__(*error)


def wanted(symbols):
    """Return the options of a run over these symbols."""
    return ("--symbols", ",".join(symbols), "--overwrite")


def free_port():
    """Return a port that is free now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def metric(port, name, label='event="messages"'):
    """Return a metric's value; of a labelled one the line that holds `label`."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return None
    found = [line for line in lines if line.startswith(name) and not line.startswith("#")]
    chosen = [line for line in found if label in line] or [
        line for line in found if "{" not in line
    ]
    return float(chosen[0].rsplit(" ", 1)[1]) if chosen else None


if __name__ == "__main__":
    main()
