"""The hot tier on a real server: for how long it holds signals."""

import pytest
from structlog.testing import capture_logs

from operators.messages import SECOND
from tests.hot_tier import SYMBOLS, closes, hot, once_each, rows, until, writing
from tests.servers.redis import redis_server
from tests.stores import TS, signal

HOUR = 3600 * SECOND


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def client(shared):
    with shared.client() as made:
        yield made


@pytest.fixture
def writer(shared):
    with writing(shared.port) as made:
        yield made


def test_signals_older_than_kept_leave_stream_and_keys_together(shared, client):
    with writing(shared.port, keep_seconds=10) as writer:
        written = rows(*closes(10))
        writer.write(written)

        writer.tidy(TS + 14 * SECOND)  # those of TS + 4 s and later stay

        assert once_each(client, writer, written[4 * len(SYMBOLS) :])
        assert len(client.keys(f"{writer.settings.prefix}:signal:*")) == 6 * len(SYMBOLS)


def test_more_than_one_page_is_dropped(shared, client):
    with writing(shared.port) as writer:
        written = rows(*closes(600))
        writer.write(written)

        writer.tidy(TS + HOUR + 599 * SECOND)
        assert once_each(client, writer, written[-len(SYMBOLS) :])

        writer.tidy(TS + 2 * HOUR)
        assert once_each(client, writer, [])


def test_tidying_an_empty_store_or_the_first_hour_of_time_drops_nothing(writer, client):
    writer.tidy(SECOND)
    written = rows(*closes(2))
    writer.write(written)

    writer.tidy(TS + SECOND)

    assert once_each(client, writer, written)


def test_what_closed_long_before_the_newest_is_not_written_and_told_once(shared, client):
    with writing(shared.port) as writer, capture_logs() as logs:
        newest = rows(*closes(1, first=TS + HOUR))
        writer.write(newest)
        writer.write(rows(*closes(1)))
        writer.write(rows(*closes(1)))

        assert once_each(client, writer, newest)
    assert [(each["event"], each["count"]) for each in logs] == [("signals_too_old", 4)]


def test_a_key_expires_by_its_age_on_the_servers_clock(shared, client):
    with writing(shared.port, keep_seconds=100) as writer:
        writer.write(rows(*closes(1, first=TS + 40 * SECOND)))
        writer.write(rows(signal("BTCUSDT", TS)))

        def left(ts_close):
            return client.pttl(f"{writer.settings.prefix}:signal:BTCUSDT-{ts_close}")

        assert 0 < left(TS) <= 60_000 < left(TS + 40 * SECOND) <= 100_000


def test_signals_come_back_by_themselves_once_all_have_expired(shared, client):
    with writing(shared.port, keep_seconds=1) as writer:
        writer.write(rows(*closes(1)))
        until(lambda: not client.keys(f"{writer.settings.prefix}:signal:*"))

        assert hot(client, writer) == {}
