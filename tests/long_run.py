"""A long replay into all stores, watched while it goes: how fast, how large, how much waits."""

import subprocess
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import batched

import psutil
from msgspec.structs import replace as changed

from connectors.secrets import Secret
from connectors.sinks.influxdb_writer import InfluxSettings, InfluxWriter
from connectors.sinks.postgresql_writer import PostgresqlWriter
from connectors.sinks.redis_writer import RedisWriter
from connectors.sinks.store import open_store
from connectors.sinks.tables import TABLES
from flows.delivery import outbox_folder
from flows.runs import recovery_folder
from tests.integration.replays import command
from tests.servers.postgresql import password
from tests.tiers import LONG, STORES, delivered, produced

EVERY = 2.0  # seconds between samples
BATCH = 1000  # rows, as a drain writes them


@dataclass(frozen=True)
class Sample:
    """How things stood at a moment of the run."""

    at: float  # seconds since it began
    memory: int  # bytes: RSS of the process
    recovery: int  # bytes on disk
    outbox: int
    made: int  # rows put into the outbox
    rows: dict  # delivered, by store


@dataclass
class Watch:
    """Samples of one process, taken while it lives."""

    process: psutil.Process
    store: object
    samples: list = field(default_factory=list)

    began: float = field(default_factory=time.monotonic)

    def take(self):
        """Take one sample; False once the process has ended."""
        try:
            memory = self.process.memory_info().rss
        except psutil.NoSuchProcess:
            return False
        if not memory:  # it has ended, and nobody has asked how yet
            return False
        self.samples.append(self.now(memory))
        return True

    def now(self, memory=0):
        """Return how things stand."""
        return Sample(
            time.monotonic() - self.began,
            memory,
            size(recovery_folder(self.store)),
            size(outbox_folder(self.store)),
            produced(self.store),
            {name: delivered(self.store, name) for name in STORES},
        )


@contextmanager
def watching(process, store):
    """Sample a process for as long as the block."""
    watch = Watch(psutil.Process(process.pid), store)
    ended = threading.Event()

    def go_on():
        while watch.take() and not ended.wait(EVERY):
            pass

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join()


def replayed(stores, store, path):
    """Replay a recording into all stores as fast as it goes; return the samples."""
    line, how = command(
        "replay", path, "--symbols", "all", "--profile", stores.profile, "--store", store,
        "--services", stores.file, "--quiet", **stores.secrets,
    )  # fmt: skip
    with (
        subprocess.Popen(line, stdout=subprocess.DEVNULL, **how) as process,
        watching(process, store) as watch,
    ):
        assert process.wait() == 0
    watch.samples.append(watch.now())
    return watch.samples


def size(folder):
    """Return how many bytes a folder's files take; some may go meanwhile."""
    total = 0
    for path in folder.glob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def quarters(samples, of):
    """Return the highest value in each quarter of the rows made."""
    last = samples[-1].made
    parts = [[of(s) for s in samples if q * last <= 4 * s.made <= (q + 1) * last] for q in range(4)]
    return [max(part, default=0) for part in parts]


def rates(samples):
    """Return how many rows a second each store was brought, from the first to the last."""
    found = {}
    for name in STORES:
        done = [(sample.at, sample.rows[name]) for sample in samples]
        begin = max((at for at, rows in done if not rows), default=done[0][0])
        end = min(at for at, rows in done if rows == done[-1][1])
        found[name] = done[-1][1] / max(end - begin, EVERY)
    return found


def alone(stores, store, count):
    """Return how many rows a second each store takes with nothing else running.

    The first `count` rows of each table, in batches as a drain writes them.
    """
    with closing(open_store(store, readonly=True)) as warm:
        rows = [
            (table, tuple(row))
            for table in ("bars", "signals", "portfolio", "outcomes")
            for row in warm.execute(
                f"SELECT {', '.join(TABLES[table].names)} FROM {table} ORDER BY ts_close LIMIT ?",
                (count,),
            )
        ]
    rows.sort(key=lambda row: row[1][TABLES[row[0]].names.index("ts_close")])
    stores.fresh()
    secret = Secret(stores.secrets["NEXTGEN_REDIS_PASSWORD"])
    found = {}
    for writer in (
        RedisWriter(changed(stores.hot, keep_seconds=LONG), secret),
        PostgresqlWriter(stores.cold, password()),
        InfluxWriter(InfluxSettings(url=stores.servers["influxdb"].url), Secret(), stores.prefix),
    ):
        with closing(writer):
            writer.connect()
            began = time.monotonic()
            for batch in batched(rows, BATCH):
                writer.write(batch)
            found[writer.name] = len(rows) / (time.monotonic() - began)
    return found
