"""The forecast leg: one call of the LSTM-Transformer for each cross-section."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from models.lstm_transformer.forecaster import Forecaster
from operators.coverage import Coverage, CoverageSettings, Followed
from operators.messages import Checkpoint, CrossSection, Leg, Tally
from operators.metrics import set_gauge
from operators.model_age import ModelAge, ModelAgeSettings, Told
from operators.stage import checkpoint_due, freeze


class ForecastSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What of the leg can be set."""

    coverage: CoverageSettings = CoverageSettings()


@dataclass(slots=True)
class ForecastState:
    """How the intervals have held, and what was told of the model's age."""

    intervals: Followed
    age: Told


class Forecast:
    """Answer each cross-section with the forecast's leg.

    The batch is always the whole cross-section in its order, and a row's bits do not depend on
    the others: they are the same whatever the load, and however symbols are cut into shards.
    State serves the width of the intervals alone.
    """

    def __init__(
        self,
        forecaster: Forecaster,
        settings: ForecastSettings,
        ages: ModelAgeSettings,
        symbols: int,
        checkpoint_every: int,
    ) -> None:
        self.forecaster = forecaster
        self.checkpoint_every = checkpoint_every
        self.age = ModelAge(forecaster.trained_until, ages)
        self.coverage = Coverage(
            symbols, forecaster.horizon_bars, forecaster.widths, settings.coverage
        )
        self.state = ForecastState(self.coverage.state, Told())

    def on(self, message: Any) -> Iterable[Any]:
        """Forecast a `CrossSection`; drop what else flows by, it goes on elsewhere."""
        if not isinstance(message, CrossSection):
            return ()
        coverage, state = self.coverage, self.state
        coverage.state = state.intervals  # which recovery may have replaced
        out: list[Any] = list(self.age.tell(state.age, "forecast", message.ts_close))
        if coverage.settle(message):
            out.extend(_counted(state.intervals))
        forecast = self.forecaster.predict(message.features, message.volatility, message.ready)
        quantiles = coverage.widened(forecast.quantiles)
        coverage.follow(message, quantiles, forecast.abstains)
        low, median, high = quantiles.T
        leg = Leg(
            name="forecast",
            ts_close=message.ts_close,
            value=forecast.value,
            certainty=forecast.certainty,
            skill=self.forecaster.skill,
            abstains=forecast.abstains,
            detail={
                "p_up": forecast.p_up,
                "return_q10": low,
                "return_q50": median,
                "return_q90": high,
                "disagreement": forecast.disagreement,
                "strangeness_hidden": forecast.strangeness[:, 0],
                "strangeness_tokens": forecast.strangeness[:, 1],
            },
            model=self.forecaster.identity,
        )
        out.append(self.age.aged(leg))
        if checkpoint_due(message.ts_close, message.interval, self.checkpoint_every):
            out.append(Checkpoint(ts_close=message.ts_close, stage="forecast", state=freeze(self)))
        return out

    def on_end(self) -> Iterable[Any]:
        """Report nothing."""
        return ()


def _counted(intervals: Followed) -> Iterable[Tally]:
    """Yield where returns fell, over all symbols so far."""
    for name in ("below", "within", "above"):
        count: int = getattr(intervals, name)
        set_gauge("forecast_intervals", name, float(count))
        yield Tally(key="forecast", name=f"intervals_{name}", count=count)
