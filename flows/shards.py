"""From the logs of some shards to fused scores: what is run several times to go faster.

A process keeps nothing on disk. It goes on from its shards' last cuts in Kafka and reads the
logs behind them again, wherever it runs; what it sends a second time is what it sent before.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import bytewax.operators as op
import msgspec
import numpy as np
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from connectors.kafka.records import outgoing_of
from connectors.kafka.topics import FUSED, STATE
from connectors.kafka.wire import Outgoing, outgoing
from connectors.sinks.sqlite import rows_of
from flows.ingest import Shards
from flows.models import Models
from flows.settings import Settings
from flows.signals import bars_of, weigh
from operators.commits import Commits
from operators.keyed import Cuts, run_keyed
from operators.messages import Checkpoint, Commit, Fused, Part, Tally

# Stages whose state is of a symbol, and those whose state is of the shard.
BY_SYMBOL = ("quality", "bars", "indicators")
BY_SHARD = ("clocks", "forecast", "policy", "sentiment")
OF_SHARD = frozenset({"clocks", "forecast", "fusion", "policy"})  # that count for themselves


def parts_of(shard: str, symbols: Sequence[str]) -> frozenset[tuple[str, str]]:
    """Return the (stage, key) of all parts of a shard's cut."""
    of_symbols = {(stage, symbol) for stage in BY_SYMBOL for symbol in symbols}
    return frozenset(of_symbols | {(stage, shard) for stage in BY_SHARD})


def build(
    settings: Settings,
    models: Models,
    source: Source[tuple[str, Any]],
    sink: Sink[Any],
    shards: Shards,
    cuts: Cuts,
) -> Dataflow:
    """Wire the flow for `shards`; `source` gives (shard, message), `cuts` where each goes on."""
    every_ns = cuts.every * cuts.interval_ns
    # Ingest has inferred what Clocks the log needs.
    given = msgspec.structs.replace(
        settings, clock=msgspec.structs.replace(settings.clock, infer=False)
    )
    flow = Dataflow("shards")
    log = op.input("log", flow, source)
    refused, _, fused = weigh(log, given, models, shards, cuts=cuts)
    settled = run_keyed(
        "commits",
        op.merge("made", refused, fused),
        lambda key: Commits(key, parts_of(key, shards[key]), every_ns),
    )
    sent = op.flat_map_batch(
        "to_kafka",
        settled,
        partial(to_kafka, every_ns=every_ns, simulated=settings.group.simulated),
    )
    op.output("kafka", sent, sink)
    return flow


def to_kafka(
    items: list[tuple[str, Any]], *, every_ns: int, simulated: bool
) -> Iterable[tuple[str, Outgoing]]:
    """Yield what a shard sends: fused scores, cuts, and records."""
    for shard, message in items:
        if isinstance(message, Fused):
            # Here, since the portfolio may decide a close without this shard.
            for each in bars_of(message.cross):
                for table, row in rows_of(each, simulated=simulated):
                    yield shard, outgoing_of(table, row)
            yield shard, outgoing(_light(message), FUSED.name, partition=int(shard), key=shard)
        elif isinstance(message, Part | Commit):
            yield shard, state_entry(message, STATE.name, int(shard), every_ns)
        else:
            for table, row in rows_of(_of_shard(message, shard), simulated=simulated):
                yield shard, outgoing_of(table, row)


def state_entry(message: Part | Commit, topic: str, partition: int, every_ns: int) -> Outgoing:
    """Return a part of a cut, or its commit, as it is kept in Kafka.

    Two cuts are kept in turn, so that one that is never finished spoils no other. A commit
    waits until all before it is acknowledged.
    """
    turn = message.ts_close // every_ns % 2
    if isinstance(message, Commit):
        key = f"commit/{turn}"
    else:
        key = f"{message.stage}/{message.key}/{turn}"
    return msgspec.structs.replace(
        outgoing(message, topic, partition=partition, key=key),
        after_all=isinstance(message, Commit),
    )


def _light(fused: Fused) -> Fused:
    """Leave out the features, which nobody reads any more."""
    none = np.zeros((len(fused.cross.symbols), 0, 0), np.float32)
    return msgspec.structs.replace(fused, cross=msgspec.structs.replace(fused.cross, features=none))


def _of_shard(message: Any, shard: str) -> Any:
    """Name a record of a shard's own after it, so that those of two are not one row."""
    if isinstance(message, Checkpoint):
        return msgspec.structs.replace(message, stage=f"{message.stage}/{shard}")
    if isinstance(message, Tally) and message.key in OF_SHARD:
        return msgspec.structs.replace(message, key=f"{message.key}/{shard}")
    return message
