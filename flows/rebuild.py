"""Decisions again from what is stored: bars, notices, checkpoints and artefacts.

The same stages as in the flow, without the stream: a checkpoint gives the path state, the
bars after it give the rest. A bar counts in the form in which it was known: as it closed, until
the cross-section that knew it repaired. Equal to the flow's decision bit for bit, or `explain`
fails.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from connectors.sinks.retention import forgotten
from connectors.sinks.store import read_bars, read_checkpoint, read_notices, read_repairs
from flows.models import Models
from flows.settings import Settings
from models.schema import HISTORY
from operators.cross_section import CrossSections, CrossSectionSettings
from operators.errors import ExplanationError
from operators.forecast import Forecast
from operators.fusion import Fusion
from operators.headlines import scored
from operators.indicators import Indicators, absent
from operators.messages import (
    CrossSection,
    Decision,
    Features,
    Notice,
    Repaired,
    ScoredHeadline,
)
from operators.policy import Policy
from operators.risk import Risk
from operators.sentiment import Sentiment
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
        "forecast": Forecast(
            models.forecaster, settings.forecast, settings.models, len(symbols), every
        ),
        "policy": Policy(models.actor, settings.policy, settings.models, len(symbols), every),
        "sentiment": Sentiment(
            settings.sentiment, symbols, models.sentiment_skill, models.sentiment_identity, every
        ),
        "risk": Risk(settings.risk, settings.costs, symbols, settings.config_hash, every),
    }
    start = _restore(store, stages, ts_close)
    fusion = Fusion(settings.fusion)
    decision: Decision | None = None
    for cross in _crosses(store, settings, models, start, ts_close):
        legs = [stages[name].on(cross) for name in ("forecast", "policy", "sentiment")]
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
    featured: defaultdict[int, dict[str, Features]] = defaultdict(dict)
    repaired: defaultdict[int, list[Repaired]] = defaultdict(list)
    for symbol in settings.symbols:
        for message in _featured(store, symbol, start, until):
            if isinstance(message, Features):
                featured[message.ts_close][symbol] = message
            elif isinstance(message, Repaired):
                repaired[message.known_at].append(message)
    # All are checked: what came before the checkpoint weighs in its state.
    known = [_verified(notice, models) for notice in read_notices(store, before=until)]
    notices = [notice for notice in known if notice.after >= start]
    sectional = CrossSectionSettings(interval_ns=settings.group.interval_ns)
    sections = CrossSections(sectional, settings.symbols)
    for notice in notices:
        sections.on(notice)
    for ts_close in sorted(featured):
        rows = (
            featured[ts_close].get(symbol) or absent(symbol, ts_close)
            for symbol in settings.symbols
        )
        for message in (*repaired[ts_close], *rows):
            for cross in sections.on(message):
                if isinstance(cross, CrossSection):
                    yield cross


def _featured(store: sqlite3.Connection, symbol: str, start: int, until: int) -> Iterator[Any]:
    """Yield what the indicators of `symbol` made of its bars in (start, until].

    The window as it was known at `start` comes first; what was repaired later comes where it
    became known.
    """
    indicators = Indicators()
    window = read_bars(store, symbol, until=start, count=HISTORY, known_at=start)
    if len(window) < HISTORY:
        _refuse_forgotten(store, symbol, start)
    for bar in window:
        for _ in indicators.on(bar):
            pass  # these were decided on before the checkpoint
    closed = {bar.ts_close: bar for bar in read_bars(store, symbol, since=start + 1, until=until)}
    repairs = read_repairs(store, symbol, known_after=start, known_until=until)
    known = {repaired.known_at: repaired for repaired in repairs}
    for ts_close in sorted(closed.keys() | known.keys()):
        if ts_close in known:
            yield from indicators.on(known[ts_close])
        if ts_close in closed:
            yield from indicators.on(closed[ts_close])


def _refuse_forgotten(store: sqlite3.Connection, symbol: str, start: int) -> None:
    """Refuse a window that is short because of retention, not because the symbol is young."""
    if not forgotten(store):
        return
    query = "SELECT min(ts_close) FROM bars"
    oldest = store.execute(query).fetchone()[0]
    own = store.execute(f"{query} WHERE symbol = ?", (symbol,)).fetchone()[0]
    if start == 0 or (own is not None and own == oldest):
        raise ExplanationError(
            f"the store no longer holds the bars of {symbol} that the decision was made on: a "
            "live run keeps a day"
        )


def _verified(notice: Notice, models: Models) -> Notice:
    """Return the notice if its text still scores as stored."""
    if isinstance(notice.body, ScoredHeadline):
        again = scored(notice.body.headline, models.read)
        if again != notice.body:
            raise ExplanationError(
                f"headline '{notice.body.headline.id}' does not score as the store says: its "
                "text, its scores or the model has changed"
            )
    return notice
