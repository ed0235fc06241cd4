"""`nextgen store`: whether all tiers agree, what is written again, and what a live run may drop."""

import json
import subprocess
import sys
from contextlib import closing, contextmanager
from itertools import chain, count
from threading import Event, Thread

import pytest
from typer.testing import CliRunner

from connectors.kafka.settings import KafkaSettings
from connectors.secrets import Secret
from connectors.sinks.influxdb_writer import InfluxSettings
from connectors.sinks.outbox import Outbox
from connectors.sinks.outbox_files import overruns
from connectors.sinks.outbox_reader import OutboxReader
from connectors.sinks.outbox_waiting import waiting
from connectors.sinks.postgresql_connection import PostgresqlSettings
from connectors.sinks.redis_writer import RedisSettings
from connectors.sinks.retention import forget
from connectors.sinks.sqlite import DAY, SqliteSink, rows_of
from connectors.sinks.store import open_store, transaction
from connectors.sinks.tiers import HotTier
from connectors.sinks.writers import StoreDown, StoreRefused
from flows import store_check
from flows.cli import app
from flows.delivery import delivering, outbox_folder, proven_by
from flows.runs import begin_run
from flows.services import Services, load_services, writers_of
from flows.settings import load_profile
from flows.store_check import check_stores
from operators.errors import SettingsError
from operators.messages import SECOND, Checkpoint, HoleState, Mood, Notice, Tally
from tests.integration.replays import ROOT
from tests.outboxes import until
from tests.stores import (
    TS,
    decision,
    gap,
    hole,
    outcome,
    rejection,
    repaired,
    signal,
    store_messages,
    stored_bar,
    switch,
)
from tests.tiers import tiers

MINUTE = 60 * SECOND
# One of each table, with what stores write in different ways.
MESSAGES = (
    stored_bar(spread=float("nan"), imbalance=-0.0),
    stored_bar("ETHUSDT", volume=0.1 + 0.2),
    repaired(stored_bar(trades=9)),
    decision(signal(), signal("ETHUSDT", reasons=("gap", "日本")), var_95=float("nan")),
    outcome(signal(), hit=None),
    rejection(1, payload=b"\xff\x00bytes"),
    rejection(1, payload=b"text"),
    gap(1, 2),
    hole(),
    hole("ETHUSDT", HoleState.FILLED),
    switch(),
    Notice(offset=5, after=TS, body=Mood(source="cnn", value=40.0, available_at=TS)),
    Checkpoint(ts_close=TS, stage="risk", state=b"\x00state"),
    Tally(key="clocks", name="received", count=3),
)
LATER = (
    stored_bar(ts_close=TS + MINUTE),
    decision(signal(ts_close=TS + MINUTE), ts_close=TS + MINUTE),
    outcome(signal(ts_close=TS + MINUTE)),
)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    with tiers(tmp_path_factory.mktemp("tiers")) as running:
        yield running


@pytest.fixture
def place(stores, monkeypatch):
    """Places that nobody has written to, and their passwords."""
    stores.fresh()
    for proxy in stores.proxies.values():
        proxy.heal()
    for name, value in stores.secrets.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(store_check, "SETTLE", 0.01)
    return stores


@contextmanager
def delivered_to(place, store):
    """The sink of an outbox that is drained into all stores."""
    services = load_services(place.file)
    profile = place.profile.stem
    with delivering(services, store, profile, stop=Event(), simulated=False) as sink:
        yield sink


def rows(messages):
    return [row for message in messages for row in rows_of(message)]


def run_of(path, *messages, profile="binance"):
    """A store with a run and what it stored."""
    store_messages(path)
    with closing(open_store(path)) as store:
        begin_run(store, load_profile(str(profile)), [], [])
    return store_messages(path, *messages)


def deliver(place, *messages):
    for writer in writers_of(load_services(place.file), place.profile.stem):
        with closing(writer):
            writer.connect()
            writer.write(rows(messages))


def nextgen(*arguments, code=0):
    """Run a command with the environment that `place` has set, and return what it printed."""
    done = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})
    assert done.exit_code == code, done.output
    return done.stdout if code < 2 else done.stderr


def checked(place, store, **options):
    """What is told of each store, by its name."""
    return {each.store: each for each in check_stores(store, load_services(place.file), **options)}


def cold(place, statement):
    return place.servers["postgresql"].sql(statement, place.cold.database)


def test_tiers_of_the_same_rows_agree_whatever_their_stores_make_of_numbers(place, tmp_path):
    store = run_of(tmp_path / "run.sqlite", *MESSAGES, *LATER)
    deliver(place, *MESSAGES, *LATER)

    told = checked(place, store)

    assert all(report.same for report in told.values())
    written = {table for table, _ in rows((*MESSAGES, *LATER))}
    assert written == {name for name, each in told["postgresql"].tables.items() if each.equal}
    assert told["redis"].tables["signals"].equal == 3
    assert told["influxdb"].tables == {}


def test_what_differs_is_told_with_keys_and_an_exit_code(place, tmp_path):
    store = run_of(tmp_path / "run.sqlite", *MESSAGES)
    deliver(place, *MESSAGES)
    cold(place, "DELETE FROM bars WHERE symbol = 'ETHUSDT'")
    cold(place, "UPDATE signals SET score = 0.5 WHERE symbol = 'ETHUSDT'")
    cold(place, "INSERT INTO tallies VALUES ('x', 'y', 1)")

    line = ("store", "check", store, "--services", place.file)
    told = json.loads(nextgen(*line, "--json", code=1))
    read = nextgen(*line, code=1)

    assert told["same"] is False
    tables = told["stores"]["postgresql"]["tables"]
    assert tables["bars"]["missing_keys"] == [["ETHUSDT", TS]]
    assert tables["signals"]["columns"] == {"score": 1}
    assert tables["tallies"]["extra_keys"] == [["x", "y"]]
    assert f"missing in bars: ETHUSDT, {TS}" in read
    for secret in place.secrets.values():
        assert secret not in read


def test_repair_writes_what_is_missing_or_different_and_leaves_what_is_too_much(place, tmp_path):
    store = run_of(tmp_path / "run.sqlite", *MESSAGES, *LATER)
    deliver(place, *MESSAGES)
    cold(place, "UPDATE bars SET close = 1 WHERE symbol = 'ETHUSDT'")
    cold(place, "INSERT INTO tallies VALUES ('x', 'y', 1)")

    told = checked(place, store, repair=True)

    assert told["redis"].same
    assert told["postgresql"].repaired == len(rows(LATER)) + 1
    assert [name for name, each in told["postgresql"].tables.items() if not each.same] == [
        "tallies"
    ]
    cold(place, "DELETE FROM tallies WHERE key = 'x'")
    assert json.loads(nextgen("store", "check", store, "--services", place.file, "--json"))["same"]


def test_repair_of_a_database_without_rows_fills_it_in_many_batches(place, tmp_path):
    many = [stored_bar(ts_close=TS + n * SECOND) for n in range(2500)]
    store = run_of(tmp_path / "run.sqlite", *MESSAGES, *many)

    told = checked(place, store, repair=True)

    assert all(report.same for report in told.values())
    assert cold(place, "SELECT count(*) FROM bars") == [(2501,)]


def test_rows_on_their_way_are_looked_at_again(place, tmp_path, monkeypatch):
    store = run_of(tmp_path / "run.sqlite", *MESSAGES)
    looks = count()
    monkeypatch.setattr(
        store_check.time, "sleep", lambda _: deliver(place, *MESSAGES) if not next(looks) else None
    )
    assert all(report.same for report in checked(place, store).values())
    assert next(looks) == 1  # the first store, once more; the second had them by then


def test_check_beside_a_run_that_writes_finds_no_difference(place, tmp_path):
    store = run_of(tmp_path / "run.sqlite", *MESSAGES)
    deliver(place, *MESSAGES)
    ending = Event()

    def write():
        sink = SqliteSink(store).build_part("store", "0", None)
        with delivered_to(place, store) as delivered:
            part = delivered.build_part("outbox", "0", None)
            for n in count(1):
                ts = TS + n * SECOND
                earlier = signal(ts_close=ts - 5 * SECOND)
                batch = [
                    stored_bar(ts_close=ts),
                    decision(signal(ts_close=ts), ts_close=ts),
                    repaired(stored_bar(ts_close=ts - 9 * SECOND), known_at=ts),
                    *([outcome(earlier)] if n > 5 else []),
                ]
                sink.write_batch(batch)
                part.write_batch(batch)
                sink.snapshot()
                part.snapshot()
                if ending.wait(0.01):
                    break
            part.close()
        sink.close()

    writing = Thread(target=write)
    writing.start()
    try:
        until(lambda: cold(place, "SELECT count(*) FROM outcomes") > [(20,)])
        for _ in range(3):
            told = checked(place, store)
            assert told["postgresql"].same, told["postgresql"]
            assert told["redis"].same, told["redis"]
    finally:
        ending.set()
        writing.join()
    assert all(report.same and not report.waiting for report in checked(place, store).values())


def test_of_the_hot_tier_only_its_hour_is_wanted(place, tmp_path):
    place.fresh(redis={"keep_seconds": 60})
    store = run_of(tmp_path / "run.sqlite", *MESSAGES, *LATER)
    deliver(place, *LATER)

    told = checked(place, store)["redis"]

    assert told.same
    assert told.tables["signals"].equal == 1


def test_hot_tier_that_lost_all_is_filled_in_order_of_time(place, tmp_path):
    made = [
        decision(signal(symbol, ts), ts_close=ts)
        for ts in range(TS, TS + 30 * SECOND, SECOND)
        for symbol in ("ETHUSDT", "BTCUSDT")
    ]
    store = run_of(tmp_path / "run.sqlite", *made, *MESSAGES)
    deliver(place, *made, *MESSAGES)
    with closing(place.hot_client()) as client:
        before = {key: kept(client, key) for key in client.keys(f"{place.prefix}:*")}
        client.delete(*before)

        assert not checked(place, store)["redis"].same
        assert checked(place, store, repair=True)["redis"].same

        assert {key: kept(client, key) for key in client.keys(f"{place.prefix}:*")} == before


def kept(client, key):
    """What stands at a key."""
    match client.type(key):
        case "stream":
            return client.xrange(key)
        case "hash":  # as numbers: SQLite makes 0.0 of -0.0
            return {name: json.loads(text) for name, text in client.hgetall(key).items()}
    return json.loads(client.get(key))


def test_signals_that_expired_by_the_servers_clock_are_not_missing(place, tmp_path):
    store = run_of(tmp_path / "run.sqlite", *MESSAGES, *LATER)
    deliver(place, *MESSAGES, *LATER)
    with closing(place.hot_client()) as client:
        client.delete(f"{place.prefix}:signal:{signal().signal_id}")

    told = checked(place, store)["redis"]

    assert told.same
    assert (told.expired, told.tables["signals"].equal) == (1, 2)


def outbox_of(store, *batches, readers=("redis", "postgresql", "influxdb"), **options):
    outbox = Outbox(outbox_folder(store), readers, **options)
    for batch in batches:
        outbox.put(rows(batch))
    outbox.sync()
    return outbox


def take(outbox, name, entries):
    reader = OutboxReader(outbox, name)
    reader.ack(reader.read(1_000_000)[entries - 1].position)


def test_rows_that_wait_in_the_outbox_are_told_and_are_not_missing(place, tmp_path):
    store = run_of(tmp_path / "run.sqlite", *MESSAGES, *LATER)
    deliver(place, *MESSAGES)
    with closing(outbox_of(store, MESSAGES, LATER)) as outbox:
        for name in ("redis", "postgresql", "influxdb"):
            take(outbox, name, 1)

        told = checked(place, store)  # while the run has the outbox

        assert all(report.same for report in told.values())
        assert {report.waiting for report in told.values()} == {len(rows(LATER))}
        assert told["postgresql"].until == TS + MINUTE

        cold(place, "DELETE FROM bars")
        assert checked(place, store)["postgresql"].tables["bars"].missing == 2
        outbox.put([])  # the check has fenced nobody


def test_a_late_row_that_waits_bounds_what_is_compared(tmp_path):
    store = tmp_path / "run.sqlite"
    late = repaired(stored_bar(ts_close=TS - 5 * SECOND))
    with closing(outbox_of(store, LATER, (late, Tally(key="a", name="b", count=1)))) as outbox:
        assert waiting(outbox_folder(store), "redis").oldest == TS - 5 * SECOND
        take(outbox, "redis", 2)
        assert waiting(outbox_folder(store), "redis") == (0, None)
    assert waiting(outbox_folder(store), "nobody") == (0, None)
    assert waiting(tmp_path / "nowhere", "redis") == (0, None)


def test_rows_lost_to_a_full_outbox_are_a_difference_until_they_are_repaired(place, tmp_path):
    made = [
        [stored_bar(ts_close=ts), decision(signal(ts_close=ts), ts_close=ts)]
        for ts in range(TS, TS + 400 * SECOND, SECOND)
    ]
    store = run_of(tmp_path / "run.sqlite", *chain.from_iterable(made), profile=place.profile)
    with closing(outbox_of(store, *made, max_bytes=64_000)):
        lost = overruns(outbox_folder(store))
    assert lost.keys() == {"redis", "postgresql", "influxdb"}
    with delivered_to(place, store):
        pass  # what is left in the outbox

    told = checked(place, store)
    assert not any(report.same for report in told.values())
    assert told["influxdb"].overrun == lost["influxdb"]

    told = checked(place, store, repair=True)
    assert all(report.same for report in told.values())
    assert overruns(outbox_folder(store)) == {}
    assert place.differences(store) == {}


def test_loss_that_the_warm_store_no_longer_holds_stays_marked(place, tmp_path):
    place.fresh(redis={"keep_seconds": 5})  # which is all there
    made = [[stored_bar(ts_close=ts)] for ts in range(TS, TS + 900 * SECOND, SECOND)]
    store = run_of(tmp_path / "run.sqlite", *chain.from_iterable(made))
    outbox_of(store, *made, max_bytes=64_000).close()
    with closing(open_store(store)) as warm, transaction(warm):
        forget(warm, TS + 890 * SECOND)

    told = checked(place, store, repair=True)

    assert told["postgresql"].tables["bars"].same
    assert {name for name, report in told.items() if not report.same} == {"postgresql", "influxdb"}
    assert overruns(outbox_folder(store)).keys() == {"postgresql", "influxdb"}


def test_rows_that_a_store_refused_are_told_and_refused_again(place, tmp_path):
    bad = stored_bar("BAD\0SYMBOL")  # no text of PostgreSQL's
    store = run_of(tmp_path / "run.sqlite", *MESSAGES, bad)
    with closing(outbox_of(store, (*MESSAGES, bad))):
        pass
    with delivered_to(place, store):
        pass

    told = checked(place, store, repair=True)["postgresql"]

    assert (told.refused, told.repaired, told.tables["bars"].missing) == (1, 0, 1)
    assert len(told.not_repaired) == 1


def test_what_the_warm_store_has_dropped_is_not_too_much_elsewhere(place, tmp_path):
    store = run_of(tmp_path / "run.sqlite", *MESSAGES, *LATER)
    deliver(place, *MESSAGES, *LATER)
    with closing(open_store(store)) as warm, transaction(warm):
        forget(warm, TS + 1)

    told = checked(place, store)

    assert told["postgresql"].since == TS + MINUTE
    assert all(report.same for report in told.values())


def test_store_that_is_away_or_wrong_is_one_sentence(place, tmp_path, monkeypatch):
    store = run_of(tmp_path / "run.sqlite", *MESSAGES)
    line = ("store", "check", store, "--services", place.file)
    for name, words in (("redis", "cannot be reached"), ("postgresql", "cannot be used now")):
        place.proxies[name].refuse()
        assert words in nextgen(*line, code=2)
        place.proxies[name].heal()
    monkeypatch.setenv("NEXTGEN_REDIS_PASSWORD", "wrong-password")
    with pytest.raises(StoreRefused, match="password") as caught:
        checked(place, store)
    assert "wrong-password" not in str(caught.value)


def test_redis_that_goes_while_it_is_read_is_one_sentence(place):
    deliver(place, *MESSAGES)
    password = Secret(place.secrets["NEXTGEN_REDIS_PASSWORD"])
    with HotTier(load_services(place.file).redis, password) as tier:
        found = tier.rows("signals", None, None)
        place.proxies["redis"].refuse()
        with pytest.raises(StoreDown, match="redis"):
            list(found)
    place.proxies["redis"].heal()


def test_migrate_makes_the_layout_and_says_what_it_was(place, stores, tmp_path):
    empty = stores.servers["postgresql"].settings()
    file = tmp_path / "services.toml"
    file.write_text(
        f'[postgresql]\nport = {empty.port}\ndatabase = "{empty.database}"\nuser = "{empty.user}"\n'
    )
    store = run_of(tmp_path / "run.sqlite", *MESSAGES)
    line = ("store", "check", store, "--services", file)

    assert "run 'nextgen store migrate'" in nextgen(*line, code=2)
    assert "had layout none, and now has" in nextgen("store", "migrate", "--services", file)
    assert "has layout" in nextgen("store", "migrate", "--services", file)
    nextgen(*line, "--repair")
    nextgen(*line)


def test_commands_without_services_say_what_they_need(tmp_path):
    with pytest.raises(SettingsError, match="--services"):
        check_stores(tmp_path / "run.sqlite", Services())
    assert "--services" in nextgen("store", "migrate", code=2)


def test_backup_is_verified_and_restored_by_the_command(tmp_path):
    store, folder = run_of(tmp_path / "run.sqlite", *MESSAGES), tmp_path / "backup"
    assert json.loads(nextgen("store", "backup", store, folder, "--json"))["newest"] == TS
    assert "is whole" in nextgen("store", "verify", folder)
    nextgen("store", "restore", folder, tmp_path / "again.sqlite")
    assert nextgen("digest", tmp_path / "again.sqlite") == nextgen("digest", store)
    assert "exists already" in nextgen("store", "restore", folder, store, code=2)


def test_live_run_drops_only_what_the_cold_store_has(place, tmp_path):
    store = run_of(tmp_path / "run.sqlite")
    place.proxies["postgresql"].refuse()
    with delivered_to(place, store) as delivered:
        proven = proven_by(load_services(place.file), delivered)
        sink = SqliteSink(store, live=True, proven=proven).build_part("store", "0", None)
        part = delivered.build_part("outbox", "0", None)

        def passes(*messages):
            for each in (sink, part):
                each.write_batch(list(messages))
                each.snapshot()

        days = [TS + n * DAY for n in range(4)]
        for ts in days:
            passes(stored_bar(ts_close=ts), stored_bar(ts_close=ts + MINUTE))
        # An hour late, when the cold store has heard of nothing.
        passes(repaired(stored_bar(ts_close=days[-1] - 3600 * SECOND)))
        assert held(store) == [ts + more for ts in days for more in (0, MINUTE)]

        place.proxies["postgresql"].heal()
        until(lambda: proven() == days[-1] + MINUTE)
        passes(stored_bar(ts_close=days[-1] + 2 * MINUTE))
        assert held(store) == [days[-2] + MINUTE, *(days[-1] + n * MINUTE for n in range(3))]
        part.close()
        sink.close()
    assert cold(place, "SELECT count(*) FROM bars") == [(9,)]
    assert checked(place, store)["postgresql"].same


def held(store):
    with closing(open_store(store, readonly=True)) as warm:
        return [row[0] for row in warm.execute("SELECT ts_close FROM bars ORDER BY ts_close")]


LIVE = """
import sys
import time
from pathlib import Path
from connectors.sinks.outbox_waiting import waiting
from flows.delivery import outbox_folder
from flows.engine import Run, inputs_for, run_flow
from connectors.sources.replay import ReplaySource
from flows.services import load_services
from flows.settings import load_profile
bars, store, services = map(Path, sys.argv[1:4])
def keep_up(_):  # as a live run does, whose input comes slowly
    while sys.argv[4] == "True" and waiting(outbox_folder(store), "postgresql").rows:
        time.sleep(0.01)
inputs, settings = inputs_for(load_profile("equities", symbols=("AAPL", "MSFT")), [bars])
run = Run(settings, store, [], live=True, services=load_services(services))
run_flow(run, lambda stop, *_: ReplaySource(inputs, stop=stop, on_progress=keep_up))
"""


@pytest.mark.parametrize("up", [True, False])
def test_engine_counts_a_live_runs_day_from_what_the_cold_store_has(place, tmp_path, up):
    store = tmp_path / "run.sqlite"
    if not up:
        place.proxies["postgresql"].refuse()
    bars = ROOT / "data/bars/eqker_us_1m_2019-02-11_15"
    line = [sys.executable, "-c", LIVE, bars, store, place.file, up]
    try:
        done = subprocess.run(
            list(map(str, line)), cwd=ROOT, capture_output=True, check=False, timeout=300
        )
    finally:
        place.proxies["postgresql"].heal()
    assert done.returncode == 0, done.stderr.decode()
    kept = held(store)
    if up:
        assert kept[-1] - kept[0] < 4 * DAY
    else:
        assert len(kept) == 5 * 390 * 2
        told = checked(place, store)["postgresql"]
        assert told.same
        assert told.waiting


EXAMPLE = ROOT / "flows/services.example.toml"


def test_example_of_services_shows_every_setting_with_its_default():
    services = load_services(EXAMPLE)
    assert services == Services(
        kafka=KafkaSettings(bootstrap="127.0.0.1:9092"),
        redis=RedisSettings(),
        postgresql=PostgresqlSettings(),
        influxdb=InfluxSettings(),
    )
    text = EXAMPLE.read_text()
    for name in Services.__struct_fields__:
        for field in getattr(services, name).__struct_fields__:
            assert f"{field} = " in text.partition(f"[{name}]")[2].partition("\n[")[0], field
