"""The engine: market messages in, risk-checked and explained signals out.

Read `build` from top to bottom; it is the picture in flows/README.md. Run it by `nextgen`,
or as `python -m bytewax.run flows.signals:flow` (settings then come from the environment).
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from time import perf_counter_ns
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.operators import KeyedStream
from bytewax.outputs import Sink

from flows.latency import Latency
from flows.models import Models, load_models
from flows.settings import Settings, from_environment
from operators.alerts import Alerts
from operators.bars import Bars
from operators.clocks import Clocks
from operators.cross_section import CrossSections, CrossSectionSettings
from operators.forecast import Forecast
from operators.fusion import Fusion
from operators.headlines import score_headlines
from operators.indicators import Indicators
from operators.keyed import Cuts, run_keyed
from operators.messages import (
    Alert,
    Bar,
    Checkpoint,
    CrossSection,
    Decision,
    Gap,
    Hole,
    Outcome,
    Part,
    Raw,
    Rejection,
    Repaired,
    Switch,
    Tally,
)
from operators.metrics import timer
from operators.normalise import normalise
from operators.outcomes import Outcomes
from operators.policy import Policy
from operators.quality import Quality
from operators.risk import Risk
from operators.sentiment import Sentiment
from operators.stage import run_stage

type Shards = Mapping[str, tuple[str, ...]]  # the symbols of each, in the universe's order

SHARD = "0"  # of the engine in one process


def build(
    settings: Settings,
    models: Models,
    source: Source[Raw],
    sinks: Sequence[tuple[str, Sink[Any]]],
    latency: Latency | None = None,
) -> Dataflow:
    """Wire the whole engine from `source` to every one of `sinks`, given as (step id, sink).

    `latency` times a live run; it changes nothing.
    """
    flow = Dataflow("signals")
    log = op.input("log", flow, source)
    decoded = op.flat_map_batch("normalise", log, partial(normalised, settings))
    scored = op.flat_map_batch(
        "score_headlines",
        decoded,
        partial(score_headlines, read=models.read),
    )
    in_order = op.key_on("shard", scored, lambda _: SHARD)
    refused, cross, fused = weigh(
        in_order, settings, models, {SHARD: settings.symbols}, latency=latency
    )
    judged = decide(fused, settings, models, latency)

    # Out: what was decided, what it was decided on, and what was refused.
    inputs = op.flat_map_batch("inputs", cross, inputs_of)
    results = op.flat_map_batch("results", judged, results_of)
    records = op.merge("records", refused, inputs, results)
    for step_id, sink in sinks:
        op.output(step_id, records, sink)
    return flow


def weigh(
    in_order: KeyedStream[Any],
    settings: Settings,
    models: Models,
    shards: Shards,
    *,
    cuts: Cuts | None = None,
    latency: Latency | None = None,
) -> tuple[KeyedStream[Any], KeyedStream[Any], KeyedStream[Any]]:
    """Take each shard's messages in their order; return what was refused, cross-sections, `Fused`.

    All three are keyed by shard. `cuts` asks for parts of state, which come with `Fused`.
    """
    every = settings.checkpoint_every
    home = {symbol: shard for shard, symbols in shards.items() for symbol in (*symbols, shard)}
    to_shard = partial(_to_shard, home)

    # Rows: one path from the log to each symbol, so that a Clock never overtakes a tick.
    routed = run_keyed(
        "clocks",
        in_order,
        lambda key: Clocks(settings.clock, shards[key], mapped=cuts is not None),
        cuts,
        _beside,
    )
    by_symbol = op.flat_map_batch("by_symbol", routed, _by_symbol)
    checked = run_keyed("quality", by_symbol, lambda _: Quality(settings.quality), cuts)
    if latency is not None:
        checked = op.flat_map_batch("time_checked", checked, latency.checked)
    barred = run_keyed("bars", checked, lambda _: Bars(settings.bars), cuts)
    parted = op.branch("part_records", barred, _is_record)
    featured = run_keyed("indicators", parted.falses, lambda _: Indicators(), cuts)

    # Columns: all symbols of a shard at one bar close.
    gathered = op.flat_map_batch("by_shard", featured, to_shard)
    cross = run_keyed(
        "cross_section",
        gathered,
        lambda key: CrossSections(
            CrossSectionSettings(interval_ns=settings.group.interval_ns, shard=int(key)),
            shards[key],
        ),
    )
    if latency is not None:
        cross = op.flat_map_batch("time_featured", cross, latency.featured)
    forecasts = run_keyed(
        "forecast",
        cross,
        lambda key: Forecast(
            models.forecaster, settings.forecast, settings.models, len(shards[key]), every
        ),
        cuts,
    )
    actions = run_keyed(
        "policy",
        cross,
        lambda key: Policy(models.actor, settings.policy, settings.models, len(shards[key]), every),
        cuts,
    )
    moods = run_keyed(
        "sentiment",
        cross,
        lambda key: Sentiment(
            settings.sentiment,
            shards[key],
            models.sentiment_skill,
            models.sentiment_identity,
            every,
        ),
        cuts,
    )
    legs = op.merge("legs", cross, forecasts, actions, moods)
    fused = run_stage("fusion", legs, lambda: Fusion(settings.fusion))
    refused = op.flat_map_batch("refused", parted.trues, to_shard)
    return refused, cross, fused


def decide(
    fused: KeyedStream[Any],
    settings: Settings,
    models: Models,
    latency: Latency | None = None,
    cuts: Cuts | None = None,
) -> KeyedStream[Any]:
    """Take the universe's `Fused`; return decisions, outcomes, checkpoints and alerts."""
    symbols, every = settings.symbols, settings.checkpoint_every
    decided = run_keyed(
        "risk",
        fused,
        lambda _: Risk(settings.risk, settings.costs, symbols, settings.config_hash, every),
        cuts,
    )
    if latency is not None:
        decided = op.flat_map_batch("time_decided", decided, latency.decided)
    settled = run_keyed(
        "outcomes", decided, lambda _: Outcomes(models.forecaster.horizon_bars), cuts
    )
    return run_keyed(
        "alerts",
        settled,
        lambda _: Alerts(settings.alerts.rules, settings.risk.drawdown_steps),
        cuts,
    )


def flow() -> Dataflow:
    """Build the flow from the environment; for `python -m bytewax.run flows.signals:flow`."""
    from flows.engine import sinks_for, source_for  # noqa: PLC0415 - it imports this module

    settings, inputs, store = from_environment()
    source, settings = source_for(settings, inputs)
    return build(
        settings,
        load_models(settings),
        source,
        sinks_for(store, simulated=settings.group.simulated),
    )


def normalised(settings: Settings, raws: list[Raw]) -> list[Any]:
    """Return what entries of the log say, and time it."""
    begin = perf_counter_ns()
    messages = normalise(raws, settings.clock.receive_offset_ns)
    timer("normalise").add((perf_counter_ns() - begin) // max(len(raws), 1))
    return messages


def _is_record(item: tuple[str, Any]) -> bool:
    return isinstance(item[1], Rejection | Gap | Hole | Switch | Tally)


def _by_symbol(items: list[tuple[str, tuple[str, Any]]]) -> list[tuple[str, Any]]:
    """Key by symbol what `clocks` routed; what is about none keeps the shard's key."""
    return [(symbol or shard, message) for shard, (symbol, message) in items]


def _beside(shard: str, part: Part) -> tuple[str, Part]:
    return shard, part


def _to_shard(home: Mapping[str, str], items: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(home[key], value) for key, value in items]


def inputs_of(items: list[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    """Yield the bars, repairs and notices that decisions are made of."""
    for key, cross in items:
        if isinstance(cross, CrossSection):
            for message in (*bars_of(cross), *cross.notices):
                yield key, message


def bars_of(cross: CrossSection) -> Iterable[Bar | Repaired]:
    """Yield a cross-section's bars, and what has become known of earlier ones."""
    yield from (bar for bar in cross.bars if bar is not None)
    yield from cross.repaired


def results_of(items: list[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    """Yield what is kept of decisions."""
    for key, message in items:
        if isinstance(message, Decision | Outcome | Checkpoint | Tally | Alert):
            yield key, message
