"""Feeds, or recordings, into Kafka: each shard's log in one total order.

The one process that knows the time: it decodes, scores headlines, closes bars by Clock and
routes. What it cannot hand over at once waits in its journal, and goes in order.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from connectors.kafka.partitions import partition_of
from connectors.kafka.records import outgoing_of
from connectors.kafka.topics import LOG
from connectors.kafka.wire import Outgoing, outgoing
from connectors.sinks.sqlite import rows_of
from flows.models import Models
from flows.settings import Settings
from flows.signals import SHARD, normalised
from operators.clocks import Clocks
from operators.headlines import score_headlines
from operators.messages import Raw
from operators.routes import Routed, Routes
from operators.stage import run_stage

type Shards = dict[str, tuple[str, ...]]


def shards_of(symbols: tuple[str, ...], count: int) -> Shards:
    """Return the symbols of each of `count` shards that has any, in the universe's order.

    >>> shards_of(("AAPL", "BTCUSDT", "ETHUSDT"), 8)
    {'3': ('BTCUSDT',), '4': ('AAPL', 'ETHUSDT')}
    """
    made: dict[int, list[str]] = {}
    for symbol in symbols:
        made.setdefault(partition_of(symbol, count), []).append(symbol)
    return {str(shard): tuple(made[shard]) for shard in sorted(made)}


def build(
    settings: Settings,
    models: Models,
    source: Source[Raw],
    sink: Sink[Any],
    shards: int,
) -> Dataflow:
    """Wire the flow from `source` into the logs of `shards` shards."""
    symbols = settings.symbols
    homes = {symbol: partition_of(symbol, shards) for symbol in symbols}
    flow = Dataflow("ingest")
    log = op.input("log", flow, source)
    decoded = op.flat_map_batch("normalise", log, partial(normalised, settings))
    scored = op.flat_map_batch(
        "score_headlines",
        decoded,
        partial(score_headlines, read=models.read),
    )
    in_order = op.key_on("one_log", scored, lambda _: SHARD)
    routed = run_stage("clocks", in_order, lambda: Clocks(settings.clock, symbols))
    sent = run_stage("routes", routed, lambda: Routes(homes, shards))
    op.output("kafka", op.flat_map_batch("to_kafka", sent, to_kafka), sink)
    return flow


def to_kafka(items: list[tuple[str, Routed]]) -> Iterable[tuple[str, Outgoing]]:
    """Yield what is sent of each message: an entry of a log, or rows that are records already."""
    for key, routed in items:
        if routed.shard >= 0:
            yield (
                key,
                outgoing(
                    routed.message,
                    LOG.name,
                    partition=routed.shard,
                    key=routed.symbol,
                    number=routed.number,
                ),
            )
        else:
            for table, row in rows_of(routed.message):
                yield key, outgoing_of(table, row)
