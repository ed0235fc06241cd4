"""How old a model is at the time of the data it is used on, and what follows from it.

Age is time of the log from the last moment that a model was made from, never of a clock on the
wall: a replay finds the same age.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from operators.messages import SECOND, Leg, Tally
from operators.metrics import set_gauge

DAY = 86_400 * SECOND


class ModelAgeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a model is stale, and what its leg then does."""

    # A quarter: relations between features and returns are known to decay over months.
    max_model_age_days: float = 90.0
    # The shipped models are years older than what they are used on, and are all there is: so a
    # stale one warns, and goes on. "lower" takes certainty down by limit / age.
    when_stale: Literal["warn", "lower", "abstain"] = "warn"

    def __post_init__(self) -> None:
        """Refuse a limit that no model could keep."""
        if not self.max_model_age_days > 0.0:
            raise ValueError("models.max_model_age_days must be above 0")


@dataclass(slots=True)
class Told:
    """What has been told of the age; of a stage's state."""

    day: int = -1  # age in whole days
    stale: bool = False


class ModelAge:
    """The age of one leg's model."""

    def __init__(self, trained_until: int, settings: ModelAgeSettings) -> None:
        """Take the last moment (ns) that the model was made from."""
        self.trained_until = trained_until
        self.settings = settings

    def days(self, ts_close: int) -> float:
        """Return the age in days; 0 for data older than the model."""
        return max(ts_close - self.trained_until, 0) / DAY

    def aged(self, leg: Leg) -> Leg:
        """Return the leg as the model's age allows it."""
        age, settings = self.days(leg.ts_close), self.settings
        if age <= settings.max_model_age_days or settings.when_stale == "warn":
            return leg
        kept = settings.max_model_age_days / age if settings.when_stale == "lower" else 0.0
        return msgspec.structs.replace(
            leg,
            value=leg.value * kept,
            certainty=leg.certainty * kept,
            abstains=leg.abstains | np.bool_(kept == 0.0),
        )

    def tell(self, told: Told, leg: str, ts_close: int) -> Iterable[Tally]:
        """Yield the age once a day, and once, as a notice, that the model is stale."""
        age = self.days(ts_close)
        if int(age) == told.day:
            return
        told.day = int(age)
        set_gauge("model_age_days", leg, float(told.day))
        yield Tally(key=leg, name="model_age_days", count=told.day)
        if age > self.settings.max_model_age_days and not told.stale:
            told.stale = True
            yield Tally(key=leg, name="stale_model", count=1)
