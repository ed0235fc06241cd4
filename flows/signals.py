"""The engine: market messages in, risk-checked and explained signals out.

Read `build` from top to bottom; it is the picture in flows/README.md. Run it by `nextgen`,
or as `python -m bytewax.run flows.signals:flow` (settings then come from the environment).
"""

from collections.abc import Iterable, Sequence
from functools import partial
from time import perf_counter_ns
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from flows.latency import Latency
from flows.models import Models, load_models
from flows.settings import Settings, from_environment
from operators.bars import Bars
from operators.clocks import Clocks
from operators.cross_section import CrossSections, CrossSectionSettings
from operators.forecast import Forecast
from operators.fusion import Fusion
from operators.indicators import Indicators
from operators.messages import (
    Checkpoint,
    CrossSection,
    Decision,
    Gap,
    Hole,
    Outcome,
    Raw,
    Rejection,
    Switch,
    Tally,
)
from operators.metrics import timer
from operators.normalise import normalise
from operators.outcomes import Outcomes
from operators.policy import Policy
from operators.quality import Quality
from operators.risk import Risk
from operators.sentiment import Sentiment, score_headlines
from operators.stage import run_stage

SHARD = "0"  # one process, one shard; at scale each process runs its own


def build(
    settings: Settings,
    models: Models,
    source: Source[Raw],
    sinks: Sequence[tuple[str, Sink[Any]]],
    latency: Latency | None = None,
) -> Dataflow:
    """Wire the dataflow from `source` to every one of `sinks`, given as (step id, sink).

    `latency` times a live run; it changes nothing.
    """
    symbols, every = settings.symbols, settings.checkpoint_every
    sectional = CrossSectionSettings(interval_ns=settings.group.interval_ns)
    flow = Dataflow("signals")

    # Rows: one path from the log to each symbol, so that a Clock never overtakes a tick.
    log = op.input("log", flow, source)
    decoded = op.flat_map_batch("normalise", log, partial(_normalised, settings))
    scored = op.flat_map_batch(
        "score_headlines",
        decoded,
        partial(score_headlines, score=models.score, model=models.sentiment_identity),
    )
    in_order = op.key_on("shard", scored, lambda _: SHARD)
    routed = run_stage("clocks", in_order, lambda: Clocks(settings.clock, symbols))
    by_symbol = op.flat_map_batch("by_symbol", routed, _values)
    checked = run_stage("quality", by_symbol, lambda: Quality(settings.quality))
    if latency is not None:
        checked = op.flat_map_batch("time_checked", checked, latency.checked)
    barred = run_stage("bars", checked, lambda: Bars(settings.bars))
    parted = op.branch("part_records", barred, _is_record)
    featured = run_stage("indicators", parted.falses, Indicators)

    # Columns: all symbols at one bar close.
    gathered = op.flat_map_batch("by_shard", featured, _to_shard)
    cross = run_stage("cross_section", gathered, lambda: CrossSections(sectional, symbols))
    if latency is not None:
        cross = op.flat_map_batch("time_featured", cross, latency.featured)
    forecasts = run_stage("forecast", cross, lambda: Forecast(models.forecaster))
    actions = run_stage(
        "policy", cross, lambda: Policy(models.actor, settings.policy, len(symbols), every)
    )
    moods = run_stage(
        "sentiment",
        cross,
        lambda: Sentiment(
            settings.sentiment, symbols, models.sentiment_skill, models.sentiment_identity, every
        ),
    )
    legs = op.merge("legs", cross, forecasts, actions, moods)
    fused = run_stage("fusion", legs, lambda: Fusion(settings.fusion))
    decided = run_stage(
        "risk",
        fused,
        lambda: Risk(settings.risk, settings.costs, symbols, settings.config_hash, every),
    )
    if latency is not None:
        decided = op.flat_map_batch("time_decided", decided, latency.decided)
    judged = run_stage("outcomes", decided, lambda: Outcomes(models.forecaster.horizon_bars))

    # Out: what was decided, what it was decided on, and what was refused.
    inputs = op.flat_map_batch("inputs", cross, _inputs)
    results = op.flat_map_batch("results", judged, _results)
    refused = op.flat_map_batch("refused", parted.trues, _to_shard)
    records = op.merge("records", refused, inputs, results)
    for step_id, sink in sinks:
        op.output(step_id, records, sink)
    return flow


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


def _normalised(settings: Settings, raws: list[Raw]) -> list[Any]:
    begin = perf_counter_ns()
    messages = normalise(raws, settings.clock.receive_offset_ns)
    timer("normalise").add((perf_counter_ns() - begin) // max(len(raws), 1))
    return messages


def _is_record(item: tuple[str, Any]) -> bool:
    return isinstance(item[1], Rejection | Gap | Hole | Switch | Tally)


def _values(items: list[tuple[str, Any]]) -> list[Any]:
    """Unpack what `clocks` routed: values that are (symbol, message) already."""
    return [value for _, value in items]


def _to_shard(items: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(SHARD, value) for _, value in items]


def _inputs(items: list[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    """Return the bars, repairs and notices that decisions are made of."""
    for key, cross in items:
        if isinstance(cross, CrossSection):
            for bar in cross.bars:
                if bar is not None:
                    yield key, bar
            for repaired in cross.repaired:
                yield key, repaired
            for notice in cross.notices:
                yield key, notice


def _results(items: list[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    for key, message in items:
        if isinstance(message, Decision | Outcome | Checkpoint | Tally):
            yield key, message
