"""The engine in one process with Redis, PostgreSQL and VictoriaMetrics beside SQLite, and faults.

Shortened; `make acceptance` runs longer outages, two hours of fifty symbols, and measures.
"""

import re
import signal
import sqlite3
import subprocess
from contextlib import contextmanager

import pytest

from connectors.sinks.outbox_files import overruns
from connectors.sinks.postgresql_migrations import migrate
from flows.delivery import outbox_folder
from tests.drill import engine, until, venue
from tests.integration.replays import command, digest, nextgen, replay, rows
from tests.long_run import replayed
from tests.metrics import metrics
from tests.servers.postgresql import password
from tests.servers.process import free_port
from tests.small_disk import small_disks
from tests.tiers import STORES, behind, delivered, end, produced, tiers
from tests.wide import wide

SYMBOLS = 4
MINUTES = 7  # two of them behind the warm-up
WRONG = "a-password-that-is-wrong"


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    with tiers(tmp_path_factory.mktemp("tiers")) as running:
        yield running


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("wide") / "wide.ndjson"
    return wide(path, SYMBOLS, minutes=MINUTES, quotes=False)[0]


@pytest.fixture(scope="module")
def undisturbed(recording, tmp_path_factory):
    """The digest of a run without services."""
    store = tmp_path_factory.mktemp("undisturbed") / "run.sqlite"
    assert sum(replay(store, *wanted(recording), profile="binance")["signals"].values()) > 300
    return digest(store)


@pytest.fixture
def mounted():
    with small_disks() as mount:
        yield mount


def wanted(recording):
    return (recording, "--symbols", "all")


def line_of(stores, store, recording):
    line = ("replay", *wanted(recording), "--profile", stores.profile, "--store", store)
    return (*line, "--services", stores.file, "--quiet")


def bars(store):
    try:
        return rows(store, "SELECT count(*) FROM bars")[0][0]
    except sqlite3.OperationalError:  # it is being made
        return 0


@contextmanager
def replaying(stores, store, recording, *options, log):
    """Replay with services in a process of its own; end it by SIGTERM when left."""
    line, how = command(
        *line_of(stores, store, recording), *options, **stores.secrets
    )  # fmt: skip
    with log.open("ab") as output:
        process = subprocess.Popen(line, stdout=output, stderr=output, **how)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(60)
    assert process.returncode == 0, log.read_text()


def goes_on(store, seconds=10):
    """Wait until the run has closed bars of `seconds` more of event time."""
    mark = bars(store) + seconds * SYMBOLS
    until(lambda: bars(store) >= mark, every=0.05)


def catches_up(store, name):
    """Wait until a store holds all that the run has stored until now."""
    mark = produced(store)
    until(lambda: delivered(store, name) >= mark, every=0.05)


def test_each_store_may_go_and_all_at_once(stores, recording, undisturbed, tmp_path):
    stores.fresh()
    store, log = tmp_path / "run.sqlite", tmp_path / "run.log"
    with replaying(stores, store, recording, "--speed", 15, log=log):
        goes_on(store)
        for name, server in stores.servers.items():
            catches_up(store, name)
            end(server)
            goes_on(store)
            assert behind(store, name)
            for other in set(STORES) - {name}:
                catches_up(store, other)
            server.start()
            catches_up(store, name)
        for server in stores.servers.values():
            end(server)
        goes_on(store, 45)  # three seconds of ours
        for server in stores.servers.values():
            server.start()
        for name in STORES:
            catches_up(store, name)
        for proxy in stores.proxies.values():
            proxy.mute()  # what is written from now on is not heard of
        goes_on(store, 15)
        for proxy in stores.proxies.values():
            proxy.cut()
            proxy.heal()
        for name in STORES:
            catches_up(store, name)
    assert stores.differences(store) == {}

    nextgen(*line_of(stores, store, recording), **stores.secrets)
    assert digest(store) == undisturbed
    assert stores.differences(store) == {}
    assert not any(behind(store, name) for name in STORES)
    assert not overruns(outbox_folder(store))
    assert not (outbox_folder(store) / "refused.jsonl").exists()


def test_wrong_passwords_stop_neither_the_run_nor_the_other_stores(
    stores, recording, undisturbed, tmp_path
):
    stores.fresh()
    store = tmp_path / "run.sqlite"
    line = line_of(stores, store, recording)
    wrong = {"NEXTGEN_POSTGRESQL_PASSWORD": WRONG, "NEXTGEN_REDIS_PASSWORD": WRONG}
    process, how = command(*line, **(stores.secrets | wrong))
    done = subprocess.run(process, capture_output=True, text=True, check=True, **how)

    assert digest(store) == undisturbed
    refused = [told for told in done.stderr.splitlines() if '"store_refused"' in told]
    assert {name for name in STORES if any(name in told for told in refused)} == {
        "postgresql",
        "redis",
    }
    assert all("password" in told for told in refused)
    assert WRONG not in done.stderr
    assert not any(secret in done.stderr for secret in stores.secrets.values())
    assert stores.counts() == {"redis": 0, "postgresql": 0}
    assert not behind(store, "influxdb")

    samples = replayed(stores, store, recording)  # with the right ones
    assert digest(store) == undisturbed
    assert stores.differences(store) == {}
    assert set(samples[-1].rows.values()) == {samples[-1].made}  # none is left to the next run
    assert max(sample.recovery for sample in samples) < 10_000_000


def test_deadlock_in_postgresql_costs_nothing(stores, recording, tmp_path):
    stores.fresh()
    store, log = tmp_path / "run.sqlite", tmp_path / "run.log"
    server, database = stores.servers["postgresql"], stores.cold.database
    with replaying(stores, store, recording, "--speed", 60, log=log) as process:
        until(lambda: stores.counts()["postgresql"], every=0.05)
        with server.connect(database) as other:
            other.execute("BEGIN")
            # Only the writer looks for deadlocks, so it is the writer that is ended.
            other.execute("SET LOCAL deadlock_timeout = '1h'")
            other.execute("LOCK TABLE bars IN SHARE MODE")
            until(lambda: server.waiting(database), every=0.05)  # it holds signals by now
            other.execute("LOCK TABLE signals IN SHARE MODE")
            other.execute("COMMIT")
        assert process.poll() is None
        catches_up(store, "postgresql")
    told = log.read_text()

    assert "postgresql_write_repeated" in told
    assert "DeadlockDetected" in told
    assert '"store_down"' not in told
    assert stores.differences(store) == {}


def test_outbox_that_overruns_is_told_and_costs_only_the_store_that_is_down(
    stores, recording, undisturbed, tmp_path
):
    stores.fresh(max_bytes=1 << 20)
    store, log = tmp_path / "run.sqlite", tmp_path / "run.log"
    stores.proxies["postgresql"].refuse()
    try:
        with replaying(stores, store, recording, "--speed", 30, log=log) as process:
            process.wait(120)
    finally:
        stores.proxies["postgresql"].heal()

    assert digest(store) == undisturbed
    lost = overruns(outbox_folder(store))
    assert set(lost) == {"postgresql"}
    assert lost["postgresql"].rows > 0
    assert '"outbox_overrun"' in log.read_text()
    found = stores.differences(store)
    assert {name.split()[0] for name in found} == {"postgresql"}


def test_full_disk_of_the_outbox_stops_the_run_which_goes_on_once_there_is_room(
    stores, recording, undisturbed, mounted, tmp_path
):
    stores.fresh()
    store = tmp_path / "run.sqlite"
    line = line_of(stores, store, recording)
    mounted(outbox_folder(store), "size=1m")
    told = nextgen(*line, code=2, **stores.secrets)

    assert "run.sqlite.outbox cannot be written: No space left on device; make room" in told
    mounted(outbox_folder(store), "size=100m")
    nextgen(*line, **stores.secrets)
    assert digest(store) == undisturbed
    assert stores.differences(store) == {}


def test_disk_of_sqlite_that_is_full_or_read_only_stops_the_run_which_goes_on_after_it(
    stores, recording, undisturbed, mounted, tmp_path
):
    stores.fresh()
    home = tmp_path / "disk"
    line = line_of(stores, home / "run.sqlite", recording)
    mounted(home, "size=3m")
    mounted(outbox_folder(home / "run.sqlite"), "size=100m")
    told = nextgen(*line, code=2, **stores.secrets)

    # Whichever is first: the store, or the recovery store beside it.
    assert re.search(r"/run\.sqlite\S* could not be written: the disk is full; make room", told)
    mounted(home, "ro")
    told = nextgen(*line, code=2, **stores.secrets)
    assert "run.sqlite cannot be used as a store: it may not be written" in told
    mounted(home, "rw,size=200m")
    nextgen(*line, **stores.secrets)
    assert digest(home / "run.sqlite") == undisturbed
    assert stores.differences(home / "run.sqlite") == {}


def test_live_run_tells_by_its_metrics_how_its_stores_do(stores, tmp_path):
    stores.fresh()
    cold = stores.cold
    stores.cold = empty = stores.servers["postgresql"].settings()  # no migration has been run
    stores.file.write_text(stores.file.read_text().replace(cold.database, empty.database))
    store, log = tmp_path / "live.sqlite", tmp_path / "live.log"
    port = free_port()
    with venue("--symbols", SYMBOLS, "--speed", 6) as place, stores.hot_client() as hot:
        hot.config_set("maxmemory", 1)
        stores.proxies["influxdb"].stall()
        names = ",".join(place.get("truth")["symbols"])
        options = ("--symbols", names, "--speed", 6, "--services", stores.file)
        options = (*options, "--metrics-port", port)
        given = {"profile": stores.profile} | stores.secrets
        with log.open("w") as output, engine(place, store, *options, output=output,
                                             **given) as process:  # fmt: skip
            states = {"redis": 0.0, "postgresql": 0.0, "influxdb": 0.0}
            until(lambda: all(behind(store, name) for name in STORES) and bars(store) > 100)
            until(lambda: min(told(port, "nextgen_store_retries_total").values()) > 0)
            assert told(port, "nextgen_store_up") == states
            assert min(told(port, "nextgen_store_backlog_rows").values()) > 0
            assert min(told(port, "nextgen_store_backlog_bytes").values()) > 0
            assert min(told(port, "nextgen_store_backlog_seconds").values()) > 0
            assert process.poll() is None

            hot.config_set("maxmemory", 0)
            stores.proxies["influxdb"].heal()
            states |= {"redis": 1.0, "influxdb": 1.0}
            until(lambda: told(port, "nextgen_store_up") == states)
            until(lambda: told(port, "nextgen_store_written_rows_total")["redis"] > 100)
            assert told(port, "nextgen_store_refused_rows_total") == dict.fromkeys(STORES, 0.0)
            assert told(port, "nextgen_store_overrun_rows_total") == dict.fromkeys(STORES, 0.0)
            assert "nextgen_feed_up" in metrics(port)
        assert process.returncode == 0, log.read_text()
        assert "nextgen store migrate" in log.read_text()
        assert "maxmemory" in log.read_text()

        migrate(empty, password())
        with log.open("a") as output, engine(place, store, *options, output=output,
                                             **given) as process:  # fmt: skip
            until(lambda: told(port, "nextgen_store_up") == dict.fromkeys(STORES, 1.0))
            until(lambda: not max(told(port, "nextgen_store_backlog_rows").values()))
        assert process.returncode == 0, log.read_text()
    assert stores.differences(store) == {}


def told(port, name):
    """Return a metric of the stores by store; none yet where it does not answer."""
    return metrics(port).get(name, {}) or {"nobody": -1.0}
