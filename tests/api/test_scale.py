"""The API over the stores of a run at scale: PostgreSQL, Redis and Kafka, each a real server."""

import threading
import time
from contextlib import closing, contextmanager

import msgspec
import pytest

from api.alert_desk import AlertDesk
from api.control import KafkaControl
from api.hot import HotSignals
from api.keys import KeyStore
from api.rows import PostgresqlRows
from api.server import Sources, beside, make_server
from api.settings import ApiSettings
from connectors.kafka.admin import ensure_topics
from connectors.sinks.compare import stored_rows
from connectors.sinks.postgresql_layout import LAYOUTS
from connectors.sinks.postgresql_writer import PostgresqlWriter
from connectors.sinks.redis_writer import open_client
from connectors.sinks.store import open_store
from operators.messages import Control
from tests.api.serving import READY, Served
from tests.api.test_push import sse
from tests.hot_tier import writing
from tests.integration import replays
from tests.kafka_logs import held
from tests.servers.kafka import broker
from tests.servers.postgresql import PostgresqlServer, password
from tests.servers.redis import redis_server


@pytest.fixture(scope="module")
def rows(store):
    """Return every row of the store that a cold store keeps, as (table, row)."""
    with closing(open_store(store, readonly=True)) as opened:
        return [(table, row) for table in LAYOUTS for row in stored_rows(opened, table)]


@contextmanager
def serving(sources, folder):
    """Serve from any sources."""
    with KeyStore(folder / "api.keys") as keys:
        server = make_server(ApiSettings(port=0), sources, keys)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            end = time.monotonic() + READY
            while not server.started:
                assert thread.is_alive()
                assert time.monotonic() < end
                time.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            yield Served(f"http://127.0.0.1:{port}", keys, folder)
        finally:
            server.should_exit = True
            thread.join(READY)


@pytest.fixture(scope="module")
def cold(rows):
    """Return the settings of a PostgreSQL that holds the run."""
    with PostgresqlServer() as server:
        settings = server.migrated()
        with closing(PostgresqlWriter(settings, password())) as writer:
            writer.connect()
            writer.write(rows)
        yield settings


@pytest.fixture(scope="module")
def hot(rows, tmp_path_factory):
    """Return a client of a Redis that holds the newest of the run, and the prefix."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server, writing(server.port) as writer:
        writer.write([(table, row) for table, row in rows if table in {"signals", "bars"}])
        with closing(open_client(writer.settings)) as client:
            yield client, writer.settings.prefix


@pytest.fixture(scope="module")
def scaled(store, cold, hot, tmp_path_factory):
    """Serve the run from PostgreSQL and Redis."""
    here = beside(store)
    sources = Sources(PostgresqlRows(cold, password()), here.control, here.alerts, HotSignals(*hot))
    with serving(sources, tmp_path_factory.mktemp("scaled")) as api, api.client() as client:
        yield client


def paths(store):
    """Yield what both are asked."""
    [[signal_id]] = replays.rows(
        store, "SELECT signal_id FROM signals WHERE action = 'SELL' LIMIT 1"
    )
    yield from (
        "symbols?sparkline=7", "signals?limit=50", "signals?symbol=ETHUSDT&action=BUY",
        "signals?approved=false&until=1723161600000000000", "signals/latest",
        f"signals/{signal_id}", "bars/BTCUSDT?limit=80", "bars/BTCUSDT?first=true", "headlines",
        "portfolio", "portfolio/history?points=50", "risk", "risk/correlation?bars=60",
        "outcomes?limit=70", "accuracy?since=0", "drift?since=0", "models", "holes", "gaps",
        "rejections?reason=late", "rejections?symbol=BTCUSDT",
    )  # fmt: skip


def test_postgresql_answers_as_sqlite_does(client, scaled, store):
    for path in paths(store):
        here, there = (each.get(f"/api/v1/{path}") for each in (client, scaled))
        assert here.status_code == there.status_code == 200, (path, there.text)
        assert here.json() == there.json(), path


def test_counts_of_postgresql_are_those_of_sqlite(client, scaled):
    here, there = (each.get("/api/v1/metrics").json()["tallies"] for each in (client, scaled))
    assert here
    assert here == there


def test_pages_of_postgresql_go_on_where_they_ended(client, scaled):
    for path in ("signals", "outcomes"):
        first = scaled.get(f"/api/v1/{path}", params={"limit": 40}).json()
        assert first["next"]
        params = {"limit": 40, "cursor": first["next"]}
        here, there = (each.get(f"/api/v1/{path}", params=params) for each in (client, scaled))
        assert here.json() == there.json()


def test_push_of_postgresql_brings_the_same_frame(client, scaled):
    [_, (_, _, here)] = sse(client, 2)
    [_, (_, _, there)] = sse(scaled, 2)
    assert here == there


def test_run_in_postgresql_is_told_as_far_as_it_is_kept(scaled):
    told = scaled.get("/api/v1/run").json()
    assert told["store"] == "postgresql"
    assert told["settings"] is None
    assert told["symbols"] == ["BTCUSDT", "ETHUSDT"]


def test_newest_signals_come_from_redis_and_without_it_from_postgresql(scaled, hot):
    redis, prefix = hot
    expected = scaled.get("/api/v1/signals/latest").json()
    key = f"{prefix}:latest:BTCUSDT"
    signal = msgspec.json.decode(redis.hget(key, "signal"))
    redis.hset(key, "signal", msgspec.json.encode(signal | {"price": 1.0}))

    [changed] = scaled.get("/api/v1/signals/latest", params={"symbol": "BTCUSDT"}).json()["signals"]
    redis.hdel(key, "signal")  # a tier that began anew
    lacking = scaled.get("/api/v1/signals/latest").json()
    redis.hset(key, "signal", msgspec.json.encode(signal))

    assert lacking == expected
    assert changed["price"] == 1.0
    assert scaled.get("/api/v1/signals/latest").json() == expected


def test_database_that_is_gone_is_a_problem_and_it_is_found_again(store, rows, tmp_path):
    with PostgresqlServer() as server:
        settings = server.migrated()
        with closing(PostgresqlWriter(settings, password())) as writer:
            writer.connect()
            writer.write(rows)
        here = beside(store)
        sources = Sources(PostgresqlRows(settings, password()), here.control, here.alerts)
        with serving(sources, tmp_path) as api, api.client() as client:
            assert client.get("/api/v1/portfolio").status_code == 200
            server.kill()
            answer = client.get("/api/v1/portfolio")
            assert answer.status_code == 503
            assert str(server.port) not in answer.text
            assert client.get("/api/v1/health/ready").status_code == 503
            server.start()
            assert client.get("/api/v1/portfolio").status_code == 200


def test_order_goes_into_the_topic_of_orders(store, tmp_path):
    with broker() as kafka:
        settings = kafka.settings()
        ensure_topics(settings)
        sources = Sources(beside(store).rows, KafkaControl(settings, None), AlertDesk(store))
        with serving(sources, tmp_path) as api, api.client() as client:
            answer = client.post("/api/v1/control/stop", json={"reason": "storm"})
        [entry] = held(settings, "control")
    order = msgspec.json.decode(entry.value, type=Control)
    assert answer.status_code == 202
    assert (order.kind, order.actor, order.reason) == ("stop", "local", "storm")
    assert order.id == answer.json()["id"]
