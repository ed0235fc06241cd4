"""The forecast leg: one call of the LSTM-Transformer for each cross-section."""

from collections.abc import Iterable
from typing import Any

from models.lstm_transformer.forecaster import Forecaster
from operators.messages import CrossSection, Leg


class Forecast:
    """Answer each cross-section with the forecast's leg; it keeps no state.

    The batch is always the whole cross-section in its order, and a row's bits do not depend on
    the others: they are the same whatever the load, and however symbols are cut into shards.
    """

    def __init__(self, forecaster: Forecaster) -> None:
        self.state: None = None
        self.forecaster = forecaster

    def on(self, message: Any) -> Iterable[Any]:
        """Forecast a `CrossSection`; drop what else flows by, it goes on elsewhere."""
        if not isinstance(message, CrossSection):
            return ()
        forecast = self.forecaster.predict(message.features, message.volatility, message.ready)
        low, median, high = forecast.quantiles.T
        return (
            Leg(
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
                },
                model=self.forecaster.identity,
            ),
        )

    def on_end(self) -> Iterable[Any]:
        """Report nothing."""
        return ()
