"""The engine live for ten minutes against a venue that fails at seeded moments.

`make acceptance` runs it and writes LIVE.md beside this file.
"""

import os
import platform
import random
import statistics
from pathlib import Path

from tests.drill import SECOND, drill, engine, health, holes, silent_signals, until, venue

REPORT = Path(__file__).parent / "LIVE.md"
SEED = 20240809
SECONDS = 600
SYMBOLS = 50
KILLED_AT = 240  # seconds of ours: kill -9, and begun again
CUTS = 20


def test_ten_minutes_of_faults_lose_nothing(tmp_path):
    found = drill(
        tmp_path,
        symbols=SYMBOLS,
        seconds=SECONDS,
        seed=SEED,
        quiet_end=60,
        kill_at=(KILLED_AT,),
    )
    accounts = found.accounts

    assert accounts.wrong == []
    assert accounts.in_bars == accounts.trades
    assert accounts.missing == 0
    assert {hole["state"] for hole in found.holes} == {"filled"}
    assert found.breaches == {}
    assert found.summary["unaccounted"] == 0
    assert silent_signals(tmp_path / "live.sqlite", found) == []
    assert found.replayed == found.live
    back = cut_to_good(tmp_path)
    assert max(back) < 2.0
    REPORT.write_text("\n".join([*_report(found), *_cuts(back)]) + "\n")


def cut_to_good(folder):
    """Return the seconds without data of each of some cuts against a venue that lives."""
    store = folder / "cuts.sqlite"
    generator = random.Random(SEED)
    with venue("--symbols", 10, "--copy-delay-ms", 20) as place:
        names = ",".join(place.get("truth")["symbols"])
        with engine(place, store, "--symbols", names) as process:
            until(lambda: store.exists() and _messages(store) > 1000)
            for number in range(CUTS):
                now = place.get("truth")["venue_time_ms"]
                wanted = now + generator.randint(2000, 6000)
                until(lambda at=wanted: place.get("truth")["venue_time_ms"] >= at, every=0.05)
                place.post("fault", {"kind": "cut"})
                until(lambda n=number: len(_cut(store)) > n)
            assert process.poll() is None
    return [(hole["ts_to"] - hole["ts_from"]) / SECOND for hole in _cut(store)]


def _messages(store):
    try:
        return health(store)[1].get("messages", 0)
    except (ValueError, LookupError):
        return 0


def _cut(store):
    """Return one filled hole for each cut: all symbols' begin together."""
    found = [h for h in holes(store) if h["cause"] == "cut" and h["state"] == "filled"]
    first = min((h["symbol"] for h in found), default="")
    return [hole for hole in found if hole["symbol"] == first]


def _report(found):
    accounts, counts = found.accounts, found.counts
    causes = sorted({hole["cause"] for hole in found.holes})
    yield "# Live feeds under faults\n"
    yield (
        f"`make acceptance` on {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, seed {SEED}: {SYMBOLS} symbols (two recorded ones and "
        f"their shifted copies) for {SECONDS} s of recorded time, at real speed; the engine was "
        f"killed (SIGKILL) after {KILLED_AT} s and begun again.\n"
    )
    yield "| | |\n|---|---|"
    yield f"| trades of the venue | {accounts.trades:,} |"
    yield f"| in bars, once each | {accounts.in_bars:,} |"
    yield f"| missing by the ledger | {accounts.missing:,} |"
    yield f"| bars that differ from the venue's trades | {len(accounts.wrong)} |"
    for quality, count in sorted(accounts.qualities.items()):
        yield f"| bars {quality} | {count:,} |"
    for cause in causes:
        of_cause = [hole for hole in found.holes if hole["cause"] == cause]
        took = [(hole["resolved_at"] - hole["found_at"]) / SECOND for hole in of_cause]
        yield (
            f"| holes, {cause}: all filled | {len(of_cause):,}; filled after "
            f"{statistics.median(took):.2f} s (median), {max(took):.1f} s at most |"
        )
    yield f"| trades fetched (since the restart) | {counts.get('backfilled_trades', 0):,} |"
    yield f"| venue rules broken | {sum(found.breaches.values())} |"
    yield f"| signals | {sum(found.summary['signals'].values()):,} |"
    yield f"| digest live, and of its recording replayed | `{found.live[:16]}…`, equal |"
    yield "\n## Faults\n\n| at s | kind | seconds |\n|---|---|---|"
    for fault in found.faults:
        yield f"| {fault['at']:.1f} | {fault['kind']} | {fault['seconds']:.1f} |"
    yield ""


def _cuts(back):
    yield "## From a cut to the next good message\n"
    yield (
        f"{len(back)} cuts of every connection at seeded moments, 10 symbols: median "
        f"{statistics.median(back):.3f} s, {max(back):.3f} s at most."
    )
