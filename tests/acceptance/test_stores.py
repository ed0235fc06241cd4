"""Redis, PostgreSQL and VictoriaMetrics beside SQLite: outages live, and two hours at full speed.

`make acceptance` runs it and writes STORES.md beside this file. What fails otherwise, full disks
and wrong passwords among it, stands in tests/integration/test_stores.py.
"""

import json
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from operators.metrics import Timer
from tests.drill import engine, until, venue
from tests.integration.replays import nextgen, rows
from tests.long_run import alone, quarters, rates, replayed
from tests.metrics import metrics
from tests.reports import report_of
from tests.servers.process import free_port
from tests.tiers import STORES, end, tiers
from tests.wide import wide

REPORT = Path(__file__).parent / "STORES.md"
SYMBOLS = 50
RATE = 1_000  # trades a second that are asked for
WARM = 230  # seconds until every symbol decides
OUTAGE = 60  # seconds without any store
SHORT_OUTAGE = 15  # seconds without one
PHASE = 120  # seconds of each measurement
REPEATS = 2
MINUTES = 120
ALONE = 100_000  # rows of each table
MB = 1e6
GROWTH = 1.25  # of the last three quarters of a long run over the first


@pytest.fixture(scope="module")
def report():
    """Sections of the report by title, written once all are there."""
    words = ". The venue, all stores and the engine share the machine."
    with report_of(REPORT, "Stores", words, 2) as sections:
        yield sections


# --------------------------------------------------------------------------- outages, live


class Live:
    """A live run against the venue that is stopped and goes on, with its stores at hand."""

    def __init__(self, stores, place, folder):
        self.stores, self.place = stores, place
        self.store, self.log = folder / "live.sqlite", folder / "live.log"
        self.port = free_port()
        self.names = ",".join(place.get("truth")["symbols"])
        self.held = {}  # durations by stage and bucket, of the processes before

    @contextmanager
    def running(self, *options, services=True):
        """Run a process."""
        given = ("--services", self.stores.file) if services else ()
        line = ("--symbols", self.names, "--metrics-port", self.port, *given, *options)
        how = {"profile": self.stores.profile} | self.stores.secrets
        with (
            self.log.open("a") as output,
            engine(self.place, self.store, *line, output=output, **how) as process,
        ):
            yield process
        assert process.returncode == 0, self.log.read_text()[-3000:]

    def phase(self, seconds, **how):
        """Run a process for so long; return how long its stages took, as timers."""
        with self.running("--seconds", seconds, **how) as process:
            process.wait(seconds + 120)
        return self.taken()

    def taken(self):
        """Return what the last process took."""
        [(text,)] = rows(self.store, "SELECT stages FROM runs")
        before, self.held = self.held, json.loads(text)
        made = {}
        for stage, buckets in self.held.items():
            made[stage] = timer = Timer()
            for bucket, count in buckets.items():
                timer.buckets[int(bucket)] = count - before.get(stage, {}).get(bucket, 0)
            timer.count = sum(timer.buckets)
        return made

    def told(self, name):
        """Return a metric of the stores; of any answer."""
        return until(lambda: metrics(self.port).get(name))

    def waiting(self):
        """Return how many rows wait for each store."""
        return self.told("nextgen_store_backlog_rows")


def outages(live):
    """End each store in turn, then all; return lines of the report."""
    stores = live.stores
    yield "| gone | seconds | waited at most, rows | delivered after, s |"
    yield "|---|---|---|---|"
    with live.running():
        until(lambda: live.told("nextgen_store_up") == dict.fromkeys(STORES, 1.0))
        for gone in (*([name] for name in STORES), list(STORES)):
            seconds = OUTAGE if len(gone) > 1 else SHORT_OUTAGE
            until(lambda: max(live.waiting().values()) <= SYMBOLS * 4)
            for name in gone:
                end(stores.servers[name])
            closed = bars(live.store)
            time.sleep(seconds)
            assert bars(live.store) - closed > 0.8 * seconds * SYMBOLS  # the run went on
            waited = max(live.waiting()[name] for name in gone)
            assert min(live.waiting()[name] for name in gone) > 0
            for name in gone:
                stores.servers[name].start()
            back = time.monotonic()
            until(lambda: max(live.waiting().values()) <= SYMBOLS * 4)
            yield (
                f"| {' and '.join(gone)} | {seconds} | {waited:,.0f} | "
                f"{time.monotonic() - back:.1f} |"
            )
        assert set(live.told("nextgen_store_overrun_rows_total").values()) == {0.0}
        assert set(live.told("nextgen_store_refused_rows_total").values()) == {0.0}


def bars(store):
    """Return how many bars have closed."""
    return rows(store, "SELECT count(*) FROM bars")[0][0]


def merged(timers):
    """Add up durations of several processes, by stage."""
    made = {}
    for of_process in timers:
        for stage, timer in of_process.items():
            total = made.setdefault(stage, Timer())
            total.buckets = [a + b for a, b in zip(total.buckets, timer.buckets, strict=True)]
            total.count += timer.count
    return made


def measured(live):
    """Run with stores that are up, refuse and stall; return durations by stage for each."""
    proxies = live.stores.proxies.values()
    orders = {"up": "heal", "refusing": "refuse", "stalled": "stall"}
    found = {how: [] for how in orders}
    for _ in range(REPEATS):
        for how, order in orders.items():
            for proxy in proxies:
                getattr(proxy, order)()
            found[how].append(live.phase(PHASE))
            for proxy in proxies:
                proxy.heal()
            live.phase(OUTAGE // 2)  # what waited is delivered, and does not count
    return {how: merged(timers) for how, timers in found.items()}


def latencies(found):
    """Return lines of the report."""
    yield "| stores | stage | count | p50 ms | p95 ms | p99 ms | p99 to that with stores up |"
    yield "|---|---|---|---|---|---|---|"
    for stage in ("received_to_checked", "clock_to_features", "clock_to_decision"):
        whole = found["up"][stage].quantile_ms(0.99)
        for how, timers in found.items():
            timer = timers[stage]
            p50, p95, p99 = (timer.quantile_ms(q) for q in (0.5, 0.95, 0.99))
            yield (
                f"| {how} | {stage} | {timer.count:,} | {p50:.1f} | {p95:.1f} | {p99:.1f} | "
                f"{p99 / whole:.2f} |"
            )


def test_run_goes_on_without_stores_and_they_get_every_row_afterwards(tmp_path, report):
    wanted = ("--symbols", SYMBOLS, "--clock", "live", "--rate", RATE)
    with tiers(tmp_path) as stores, venue(*wanted) as place:
        live = Live(stores, place, tmp_path)
        live.phase(WARM)
        lines = [*outages(live), ""]
        live.taken()
        found = measured(live)
        assert stores.differences(live.store) == {}
        summary = json.loads(nextgen("summary", live.store, "--json"))
        assert summary["signals"]
        # Last, for what it decides is in SQLite alone.
        found["none"] = merged([live.phase(PHASE, services=False) for _ in range(REPEATS)])
        lines += latencies(found)
    report["Outages of a live run"] = "\n".join(
        [
            f"{SYMBOLS} symbols of the fake venue at {RATE:,} trades/s asked for, at real speed, "
            "through proxies. Stores were killed (SIGKILL; VictoriaMetrics, which acknowledges "
            "what it holds in memory alone, by SIGTERM) and begun again; the run went on, and "
            f"afterwards all stores held the rows of SQLite: {sum(summary['signals'].values()):,} "
            f"signals. Then {REPEATS} times {PHASE} s each with stores that are up, that refuse "
            "connections, that hold them open and say nothing, and without any.\n",
            *lines,
        ]
    )


# ------------------------------------------------------------------- two hours, at full speed


def test_two_hours_of_fifty_symbols_through_all_stores(tmp_path, report):
    path, _ = wide(tmp_path / "wide.ndjson", SYMBOLS, minutes=MINUTES, quotes=False)
    store = tmp_path / "run.sqlite"
    with tiers(tmp_path) as stores:
        samples = replayed(stores, store, path)
        assert stores.differences(store) == {}
        last = samples[-1]
        assert set(last.rows.values()) == {last.made}
        memory, recovery, outbox, waiting = (
            quarters(samples, of)
            for of in (
                lambda sample: sample.memory,
                lambda sample: sample.recovery,
                lambda sample: sample.outbox,
                lambda sample: sample.made - min(sample.rows.values()),
            )
        )
        assert max(memory[1:]) <= GROWTH * memory[0]
        assert max(recovery[1:]) <= GROWTH * recovery[0]
        by_store, own = rates(samples), alone(stores, store, ALONE)
    [(signals,)] = rows(store, "SELECT count(*) FROM signals")
    lines = [
        f"{MINUTES} minutes of {SYMBOLS} symbols at one-second bars, trades only "
        f"({path.stat().st_size / MB:,.0f} MB), all models: {bars(store):,} bars and {signals:,} "
        f"signals, {last.made:,} rows, in {last.at:,.0f} s. All stores then held the rows of "
        "SQLite.\n",
        "| store | rows/s during the run | rows/s by itself, nothing else running |",
        "|---|---|---|",
        *(f"| {name} | {by_store[name]:,.0f} | {own[name]:,.0f} |" for name in STORES),
        "",
        "| at most in each quarter | 1 | 2 | 3 | 4 |",
        "|---|---|---|---|---|",
        *(
            f"| {what} | " + " | ".join(f"{value / unit:,.1f}" for value in values) + " |"
            for what, values, unit in (
                ("memory of the process, MB", memory, MB),
                ("recovery store, MB", recovery, MB),
                ("outbox on disk, MB", outbox, MB),
                ("rows that wait for the slowest store", waiting, 1),
            )
        ),
    ]
    report["Two hours at full speed"] = "\n".join(lines)
