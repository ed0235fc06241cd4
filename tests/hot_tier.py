"""The hot tier in tests: a writer with keys of its own, what it wrote, and what was published."""

import time
from contextlib import closing, contextmanager

from connectors.sinks.redis_rows import read_signals
from connectors.sinks.redis_writer import RedisSettings, RedisWriter
from connectors.sinks.sqlite import rows_of
from operators.messages import SECOND
from tests.stores import TS, signal

SYMBOLS = ("ADAUSDT", "BTCUSDT", "ETHUSDT", "SOLUSDT")
_numbers = iter(range(1_000_000))


@contextmanager
def writing(port, password=None, **given):
    given = {
        "port": port,
        "prefix": f"test{next(_numbers)}",
    } | given
    with closing(RedisWriter(RedisSettings(**given), password)) as writer:
        writer.connect()
        yield writer


def rows(*messages, simulated=False):
    return [row for message in messages for row in rows_of(message, simulated=simulated)]


def closes(count, symbols=SYMBOLS, first=TS):
    """One signal of each symbol at each of `count` closes, a second apart."""
    return [signal(symbol, first + i * SECOND) for i in range(count) for symbol in symbols]


def signal_rows(written):
    return {row[0]: row for table, row in written if table == "signals"}


def hot(client, writer):
    return {row[0]: row for row in read_signals(client, writer.settings.prefix)}


def stream(client, writer):
    return client.xrange(f"{writer.settings.prefix}:signals")


def once_each(client, writer, written):
    """Whether each signal written stands in the stream once, and at its key as it was written."""
    ids = [entry["signal_id"] for _, entry in stream(client, writer)]
    expected = signal_rows(written)
    return sorted(ids) == sorted(expected) and hot(client, writer) == expected


@contextmanager
def listening(client, writer):
    """Everything published within the block, as it came."""
    heard = []
    with client.pubsub() as subscription:
        channel = f"{writer.settings.prefix}:live"
        subscription.subscribe(channel)
        assert subscription.get_message(timeout=10)["type"] == "subscribe"
        yield heard
        client.publish(channel, "end")
        while (said := subscription.get_message(timeout=10)) and said["data"] != "end":
            heard.append(said["data"])


def until(is_so, seconds=60.0):
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)
