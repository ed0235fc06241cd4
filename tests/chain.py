"""The stages one after another without Bytewax, remembering what each was given.

It follows `flows.signals.build` step by step; a test holds that both decide the same.
"""

from collections import defaultdict

from operators.alerts import Alerts
from operators.bars import Bars
from operators.clocks import Clocks
from operators.cross_section import CrossSections, CrossSectionSettings
from operators.forecast import Forecast
from operators.fusion import Fusion
from operators.headlines import score_headlines
from operators.indicators import Indicators
from operators.messages import Gap, Hole, Rejection, Switch, Tally
from operators.normalise import normalise
from operators.outcomes import Outcomes
from operators.policy import Policy
from operators.quality import Quality
from operators.risk import Risk
from operators.sentiment import Sentiment

BY_SYMBOL = ("quality", "bars", "indicators")
LEGS = ("forecast", "policy", "sentiment")


def makers(settings, models):
    """Return what builds each stage, by name, in the order of the flow."""
    symbols, every = settings.symbols, settings.checkpoint_every
    sectional = CrossSectionSettings(interval_ns=settings.group.interval_ns)
    return {
        "clocks": lambda: Clocks(settings.clock, symbols),
        "quality": lambda: Quality(settings.quality),
        "bars": lambda: Bars(settings.bars),
        "indicators": Indicators,
        "cross_section": lambda: CrossSections(sectional, symbols),
        "forecast": lambda: Forecast(
            models.forecaster, settings.forecast, settings.models, len(symbols), every
        ),
        "policy": lambda: Policy(
            models.actor, settings.policy, settings.models, len(symbols), every
        ),
        "sentiment": lambda: Sentiment(
            settings.sentiment, symbols, models.sentiment_skill, models.sentiment_identity, every
        ),
        "fusion": lambda: Fusion(settings.fusion),
        "risk": lambda: Risk(settings.risk, settings.costs, symbols, settings.config_hash, every),
        "outcomes": lambda: Outcomes(models.forecaster.horizon_bars),
        "alerts": lambda: Alerts(settings.alerts.rules, settings.risk.drawdown_steps),
    }


class Chain:
    """Push log entries through all stages; `given[stage]` is what each was given."""

    def __init__(self, settings, models):
        self.settings = settings
        self.models = models
        self.make = makers(settings, models)
        self.stages = {}
        self.given = defaultdict(list)  # (stage, key) -> messages
        self.records = []
        self.results = []

    def _on(self, name, key, message):
        stage = self.stages.get((name, key))
        if stage is None:
            stage = self.stages[name, key] = self.make[name]()
        self.given[name, key].append(message)
        return stage.on(message)

    def push(self, raws):
        """Take log entries, in order."""
        decoded = normalise(raws, self.settings.clock.receive_offset_ns)
        for message in score_headlines(decoded, self.models.read):
            for key, routed in self._on("clocks", "0", message):
                self._symbol_path(key, routed, BY_SYMBOL)
        return self

    def _symbol_path(self, key, message, names):
        if not names:
            self._shard_path(message)
            return
        for result in self._on(names[0], key, message):
            if names[0] == "bars" and isinstance(result, Rejection | Gap | Hole | Switch | Tally):
                self.records.append(result)
            else:
                self._symbol_path(key, result, names[1:])

    def _shard_path(self, message):
        for cross in self._on("cross_section", "0", message):
            legs = [result for name in LEGS for result in self._on(name, "0", cross)]
            for each in (cross, *legs):
                for fused in self._on("fusion", "0", each):
                    for decided in self._on("risk", "0", fused):
                        for settled in self._on("outcomes", "0", decided):
                            self.results.extend(self._on("alerts", "0", settled))
