"""Risk over the decisions of all shards: fused scores in, signals out.

One process. Like a shard it keeps nothing on disk: it goes on from its last cut in Kafka.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from connectors.kafka.records import outgoing_of
from connectors.kafka.topics import DECISION_STATE
from connectors.kafka.wire import Outgoing
from connectors.sinks.sqlite import rows_of
from flows.ingest import Shards
from flows.models import Models
from flows.settings import Settings
from flows.shards import state_entry
from flows.signals import decide
from operators.commits import Commits
from operators.gather import Gather
from operators.keyed import Cuts, run_keyed
from operators.messages import Barrier, Commit, Fused, Part

KEY = "portfolio"
PARTS = frozenset({("gather", KEY), ("risk", KEY), ("outcomes", KEY), ("alerts", KEY)})


def build(
    settings: Settings,
    models: Models,
    source: Source[tuple[str, Any]],
    barriers: Source[tuple[str, Any]],
    sink: Sink[Any],
    shards: Shards,
    cuts: Cuts,
    *,
    done: int = 0,
    barred: Iterable[Barrier] = (),
) -> Dataflow:
    """Wire the flow: `source` gives each shard's `Fused`, `done` and `barred` what was before."""
    flow = Dataflow("portfolio")
    came = op.input("fused", flow, source)
    late = op.input("barriers", flow, barriers)
    both = op.flat_map_batch("one_key", op.merge("came", came, late), _to_one)
    whole = run_keyed(
        "gather",
        both,
        lambda _: Gather(shards, settings.symbols, cuts.every, done=done, barriers=barred),
    )
    judged = decide(whole, settings, models, cuts=cuts)
    inputs = op.flat_map_batch("inputs", whole, _only_fused)
    settled = run_keyed(
        "commits",
        op.merge("made", inputs, judged),
        lambda key: Commits(key, PARTS, cuts.every * cuts.interval_ns),
    )
    sent = op.flat_map_batch(
        "to_kafka",
        settled,
        partial(
            to_kafka,
            every_ns=cuts.every * cuts.interval_ns,
            simulated=settings.group.simulated,
        ),
    )
    op.output("kafka", sent, sink)
    return flow


def to_kafka(
    items: list[tuple[str, Any]], *, every_ns: int, simulated: bool
) -> Iterable[tuple[str, Outgoing]]:
    """Yield what the portfolio sends: what it decided and on what, and cuts of its state."""
    for key, message in items:
        if isinstance(message, Part | Commit):
            yield key, state_entry(message, DECISION_STATE.name, 0, every_ns)
            continue
        # Its bars have been sent by the shards.
        messages = message.cross.notices if isinstance(message, Fused) else (message,)
        for each in messages:
            for table, row in rows_of(each, simulated=simulated):
                yield key, outgoing_of(table, row)


def _to_one(items: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(KEY, message) for _, message in items]


def _only_fused(items: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [item for item in items if isinstance(item[1], Fused)]
