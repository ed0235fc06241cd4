"""The stores beside SQLite as real servers, each behind a proxy, and whether all tiers agree."""

import json
import time
from contextlib import ExitStack, closing, contextmanager
from itertools import chain
from math import isclose
from pprint import pprint

from connectors.journal import read_journal
from connectors.secrets import Secret
from connectors.sinks.compare import compare, stored_rows
from connectors.sinks.influxdb_points import line_of
from connectors.sinks.outbox_files import Stand, content_of, cursors, load_cursor
from connectors.sinks.postgresql_connection import connect
from connectors.sinks.postgresql_layout import LAYOUTS
from connectors.sinks.postgresql_reader import read_rows
from connectors.sinks.redis_rows import read_signals
from connectors.sinks.redis_writer import RedisSettings, open_client
from connectors.sinks.store import open_store
from connectors.sinks.tables import TABLES
from flows.delivery import outbox_folder
from flows.settings import PROFILES
from operators.messages import Raw
from tests.servers.postgresql import PASSWORD, PostgresqlServer, password
from tests.servers.redis import redis_server
from tests.servers.toxic import Toxic
from tests.servers.victoria_metrics import VictoriaMetrics

STORES = ("redis", "postgresql", "influxdb")
LONG = 100 * 86_400  # seconds that Redis keeps: all of a test's recording
DIGITS = 1e-11  # VictoriaMetrics keeps about twelve
AT_ONCE = 300 * 1_000_000_000  # ns of event time that are compared at once
SHOWN_AFTER = 20.0  # seconds
_MS = 1_000_000  # ns
_SECRETS = {
    "NEXTGEN_REDIS_PASSWORD": "redis-of-the-tests",
    "NEXTGEN_POSTGRESQL_PASSWORD": PASSWORD,
    "NEXTGEN_INFLUXDB_TOKEN": "a-token-of-the-tests",
}


class Tiers:
    """Redis, PostgreSQL and VictoriaMetrics, in `servers` and `proxies` by the store's name.

    `file` names them for `--services`, through the proxies, `profile` is that to run with, and
    `secrets` holds their passwords for the environment.
    """

    def __init__(self, folder, stack):
        """Start all three and the proxies, which `stack` ends."""
        self.folder = folder
        self.secrets = _SECRETS
        homes = [folder / name for name in ("redis", "influxdb")]
        for home in homes:
            home.mkdir()
        self.servers = {
            "redis": redis_server(homes[0], password=_SECRETS["NEXTGEN_REDIS_PASSWORD"]),
            "postgresql": PostgresqlServer(),
            "influxdb": VictoriaMetrics(homes[1]),
        }
        for server in self.servers.values():
            stack.enter_context(server)
        self.proxies = {
            name: stack.enter_context(Toxic(server.port)) for name, server in self.servers.items()
        }
        self.files = 0
        self.fresh()

    def fresh(self, max_bytes=4 << 30, **changed):
        """Name places that nobody has written to.

        `changed` are settings by store: `fresh(redis={"timeout_seconds": 1.0})`.
        """
        self.files += 1
        self.prefix = f"tiers{self.files}"
        # Points are told apart by the profile's name, which decides nothing.
        self.profile = self.folder / f"{self.prefix}.toml"
        self.profile.write_text((PROFILES / "binance.toml").read_text())
        self.cold = self.servers["postgresql"].migrated()
        ports = {name: proxy.port for name, proxy in self.proxies.items()}
        tables = {
            "redis": {
                "port": ports["redis"],
                "prefix": self.prefix,
                "keep_seconds": LONG,
                "timeout_seconds": 2.0,
            },
            "postgresql": {
                "port": ports["postgresql"],
                "database": self.cold.database,
                "user": self.cold.user,
                "patience_seconds": 5.0,
            },
            "influxdb": {
                "url": f"http://127.0.0.1:{ports['influxdb']}",
                "timeout_seconds": 2.0,
            },
        }
        told = {name: tables[name] | changed.get(name, {}) for name in STORES}
        told["outbox"] = {"max_bytes": max_bytes}
        self.file = self.folder / f"services{self.files}.toml"
        self.file.write_text(
            "\n".join(
                line
                for name, table in told.items()
                for line in (f"[{name}]", *(f"{k} = {json.dumps(v)}" for k, v in table.items()))
            )
        )

    @property
    def hot(self):
        """Settings of the hot tier, not through the proxy."""
        return RedisSettings(port=self.servers["redis"].port, prefix=self.prefix)

    def counts(self):
        """Return how many signals each tier but the analytics holds."""
        with closing(self.hot_client()) as client:
            hot = client.xlen(f"{self.prefix}:signals")
        [(cold,)] = self.servers["postgresql"].sql(
            "SELECT count(*) FROM signals", self.cold.database
        )
        return {"redis": hot, "postgresql": cold}

    def hot_client(self):
        """Return a client of the hot tier's server."""
        return open_client(self.hot, Secret(_SECRETS["NEXTGEN_REDIS_PASSWORD"]))

    def differences(self, store):
        """Return in what each tier differs from the SQLite file: nothing where they agree."""
        with closing(open_store(store, readonly=True)) as warm:
            told = {
                f"postgresql {name}": found
                for name, found in self._cold(warm).items()
                if not found.same
            }
            hot = self._hot(warm)
            if not hot.same:
                told["redis signals"] = hot
            points = self._analytics(warm)
        told |= {"influxdb": points} if points else {}
        pprint(told)  # noqa: T203 - which pytest shows in full when a test fails
        return told

    def _cold(self, warm):
        with closing(connect(self.cold, password())) as cold:
            return {
                name: compare(stored_rows(warm, name), read_rows(cold, name), name)
                for name in LAYOUTS
            }

    def _hot(self, warm):
        """Compare signals; the stream is in another order than the key."""
        with closing(self.hot_client()) as client:
            found = sorted(read_signals(client, self.prefix))
            assert client.xlen(f"{self.prefix}:signals") == len(found)
        return compare(stored_rows(warm, "signals"), found, "signals")

    def _analytics(self, warm):
        """Return the first few points that differ in their numbers, beyond twelve digits.

        Some minutes after the others, for there may be millions of points. New series show in
        VictoriaMetrics some seconds after they were written, so it is asked until all are
        there, within reason.
        """
        [(first, last)] = warm.execute("SELECT min(ts_close), max(ts_close) FROM bars")
        patience = time.monotonic() + SHOWN_AFTER
        told = []
        for since in range(first, last + 1, AT_ONCE):
            span = since, min(since + AT_ONCE - _MS, last)
            expected = self._expected(warm, *span)
            while (wrong := self._wrong(expected, *span)) and time.monotonic() < patience:
                time.sleep(0.5)
            told += [*wrong[:3], f"{len(wrong)} points from {since} on"] if wrong else []
        return told

    def _expected(self, warm, since, until):
        return dict(
            chain.from_iterable(
                points_of(line)
                for table in ("signals", "bars", "portfolio", "outcomes")
                for row in warm.execute(
                    f"SELECT {', '.join(TABLES[table].names)} FROM {table} "
                    "WHERE ts_close BETWEEN ? AND ?",
                    (since, until),
                )
                if (line := line_of(table, tuple(row), self.prefix)) is not None
            )
        )

    def _wrong(self, expected, since, until):
        found = self.servers["influxdb"].series(self.prefix, since // _MS, until // _MS)
        held = {
            (name, tags, at): value
            for (name, tags), points in found.items()
            for at, value in points.items()
        }
        return [
            (key, expected.get(key), held.get(key))
            for key in sorted(expected.keys() | held.keys())
            if key not in held
            or key not in expected
            or not isclose(held[key], expected[key], rel_tol=DIGITS)
        ]


def end(server):
    """End a server as hard as what it acknowledged survives.

    VictoriaMetrics acknowledges what it holds in memory alone, for some seconds.
    """
    if isinstance(server, VictoriaMetrics):
        server.stop()
    else:
        server.kill()


def points_of(line):
    """Yield what VictoriaMetrics should hold of a line: ((name, tags, time in ms), number)."""
    head, fields, time = line.split(" ")
    name, *tags = head.split(",")
    its = tuple(sorted(tuple(tag.split("=")) for tag in tags))
    for field in fields.split(","):
        told, value = field.split("=")
        yield (f"{name}_{told}", its, int(time) // _MS), float(value)


@contextmanager
def tiers(folder):
    """Run the three stores for as long as the block."""
    with ExitStack() as stack:
        yield Tiers(folder, stack)


def delivered(store, name):
    """Return how many rows the run stored at `store` has brought into the store `name`."""
    found = load_cursor(outbox_folder(store), name)
    return 0 if found is None else found.rows


def produced(store):
    """Return how many rows the run has put into its outbox."""
    folder = outbox_folder(store)
    if not folder.is_dir():
        return 0
    last = max(cursors(folder).values(), key=lambda stand: stand.offset, default=Stand())
    entries = (item for item in read_journal(folder, start=last.offset) if isinstance(item, Raw))
    return max((content_of(raw.payload).after(raw).rows for raw in entries), default=last.rows)


def behind(store, name):
    """Return how many rows the store `name` has still to get."""
    return produced(store) - delivered(store, name)
