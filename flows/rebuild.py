"""Decisions again from what is stored: bars, notices, checkpoints and artefacts.

The same stages as in the flow, without the stream: a checkpoint gives the path state, the
bars after it give the rest. Equal to the flow's decision bit for bit, or `explain` fails.
"""

import sqlite3
from collections.abc import Iterator

from connectors.sinks.store import read_bars, read_checkpoint, read_notices
from flows.models import Models
from flows.settings import Settings
from models.schema import HISTORY
from operators.cross_section import CrossSections, CrossSectionSettings
from operators.errors import ExplanationError
from operators.forecast import Forecast
from operators.fusion import Fusion
from operators.indicators import Indicators, absent
from operators.messages import (
    CrossSection,
    Decision,
    Features,
    Notice,
    ScoredHeadline,
)
from operators.policy import Policy
from operators.risk import Risk
from operators.sentiment import Sentiment, scored
from operators.stage import Stage, thaw


def rebuild(
    store: sqlite3.Connection, settings: Settings, models: Models, ts_close: int
) -> tuple[Decision, int]:
    """Decide again at `ts_close`; return the decision and the checkpoint it was built on.

    Raises:
        ExplanationError: the store no longer holds what the decision was made of.
    """
    symbols, every = settings.symbols, settings.checkpoint_every
    stages: dict[str, Stage] = {
        "policy": Policy(models.actor, settings.policy, len(symbols), every),
        "sentiment": Sentiment(
            settings.sentiment, symbols, models.sentiment_skill, models.sentiment_identity, every
        ),
        "risk": Risk(settings.risk, settings.costs, symbols, settings.config_hash, every),
    }
    start = _restore(store, stages, ts_close)
    forecast, fusion = Forecast(models.forecaster), Fusion(settings.fusion)
    decision: Decision | None = None
    for cross in _crosses(store, settings, models, start, ts_close):
        legs = [forecast.on(cross), stages["policy"].on(cross), stages["sentiment"].on(cross)]
        for message in (cross, *(leg for answers in legs for leg in answers)):
            for fused in fusion.on(message):
                for result in stages["risk"].on(fused):
                    if isinstance(result, Decision):
                        decision = result
    if decision is None or decision.fused.cross.ts_close != ts_close:
        raise ExplanationError(
            f"the store holds no complete bars for {ts_close}: they are past its retention, or "
            "the run has not got there"
        )
    return decision, start


def _restore(store: sqlite3.Connection, stages: dict[str, Stage], ts_close: int) -> int:
    """Give each stage its state after one common bar before `ts_close`; 0 is the beginning."""
    start = ts_close
    while True:
        found = {stage: read_checkpoint(store, stage, before=start) for stage in stages}
        times = {0 if checkpoint is None else checkpoint[0] for checkpoint in found.values()}
        if len(times) == 1:
            break
        # A crash can leave the last checkpoint incomplete; the one before it is whole.
        start = min(times) + 1
    for stage, checkpoint in found.items():
        if checkpoint is not None:
            thaw(stages[stage], checkpoint[1])
    return times.pop()


def _crosses(
    store: sqlite3.Connection, settings: Settings, models: Models, start: int, until: int
) -> Iterator[CrossSection]:
    """Yield the cross-sections that close in (start, until], as the flow made them."""
    span = (until - start) // settings.group.interval_ns
    needed = None if start == 0 else HISTORY + span
    featured: dict[int, dict[str, Features]] = {}
    for symbol in settings.symbols:
        indicators = Indicators()
        for bar in read_bars(store, symbol, until=until, count=needed):
            for features in indicators.on(bar):
                if bar.ts_close > start:
                    featured.setdefault(bar.ts_close, {})[symbol] = features
    # All are checked: what came before the checkpoint weighs in its state.
    known = [_verified(notice, models) for notice in read_notices(store, before=until)]
    notices = [notice for notice in known if notice.after >= start]
    sectional = CrossSectionSettings(interval_ns=settings.group.interval_ns)
    sections = CrossSections(sectional, settings.symbols)
    for notice in notices:
        sections.on(notice)
    for ts_close in sorted(featured):
        for symbol in settings.symbols:
            rows = featured[ts_close].get(symbol)
            yield from sections.on(rows or absent(symbol, ts_close))


def _verified(notice: Notice, models: Models) -> Notice:
    """Return the notice if its text still scores as stored."""
    if isinstance(notice.body, ScoredHeadline):
        again = scored(notice.body.headline, models.score, models.sentiment_identity)
        if again != notice.body:
            raise ExplanationError(
                f"headline '{notice.body.headline.id}' does not score as the store says: its "
                "text, its scores or the model has changed"
            )
    return notice
