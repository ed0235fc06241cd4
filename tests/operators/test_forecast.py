"""The forecast's leg: its model's age, and intervals that are met on the stream."""

import numpy as np
import pytest

from models import runtime
from models.lstm_transformer.forecaster import Forecaster
from models.seen import trained_until
from operators.coverage import CoverageSettings
from operators.forecast import Forecast, ForecastSettings
from operators.messages import SECOND, Leg, Tally
from operators.model_age import DAY, ModelAgeSettings
from operators.stage import freeze, thaw
from tests.support import cross_section

SYMBOLS = ("A", "B")


@pytest.fixture(scope="module")
def forecaster():
    return Forecaster(runtime.load("forecast_1s", kind="forecast", interval=SECOND))


def stage(forecaster, step=0.1, **ages):
    settings = ForecastSettings(coverage=CoverageSettings(step=step))
    return Forecast(forecaster, settings, ModelAgeSettings(**ages), len(SYMBOLS), 10**9)


def crosses(forecaster, count, *, days=1, jump=1.0):
    """Yield cross-sections from `days` after training on; prices jump with each horizon."""
    begin = (forecaster.trained_until // DAY + 1 + days) * DAY // SECOND
    horizon = forecaster.horizon_bars
    for second in range(count):
        closes = [100.0 * jump ** (second // horizon)] * len(SYMBOLS)
        yield cross_section(SYMBOLS, begin + second, closes=closes)


def run(made, given):
    return [result for cross in given for result in made.on(cross)]


def tallies(results):
    return {each.name: each.count for each in results if isinstance(each, Tally)}


def last_leg(results):
    return [each for each in results if isinstance(each, Leg)][-1]


def test_intervals_are_met_once_a_horizon_and_widened_where_prices_jump(forecaster):
    horizon = forecaster.horizon_bars

    results = run(stage(forecaster), crosses(forecaster, 3 * horizon + 1, jump=1.05))

    said = tallies(results)
    assert said["intervals_above"] == 6
    assert said["intervals_within"] == said["intervals_below"] == 0
    first, last = (each.detail for each in results if isinstance(each, Leg)), last_leg(results)
    reach = [leg["return_q90"] - leg["return_q50"] for leg in (next(first), last.detail)]
    assert (reach[1] > reach[0]).all()


def test_the_intervals_survive_a_restart(forecaster):
    given = list(crosses(forecaster, 3 * forecaster.horizon_bars + 1, jump=0.95))
    whole, begun = stage(forecaster), stage(forecaster)
    expected = run(whole, given)
    cut = len(given) // 2

    results = run(begun, given[:cut])
    results += run(thaw(stage(forecaster), freeze(begun)), given[cut:])

    assert tallies(results) == tallies(expected)
    for name, values in last_leg(expected).detail.items():
        np.testing.assert_array_equal(last_leg(results).detail[name], values)


def test_a_stale_model_is_told_once_and_goes_on(forecaster):
    results = run(stage(forecaster, max_model_age_days=5.0), crosses(forecaster, 3, days=9))

    assert [each.name for each in results if isinstance(each, Tally)] == [
        "model_age_days",
        "stale_model",
    ]
    assert not last_leg(results).abstains.any()


def test_a_stale_model_can_be_told_to_abstain(forecaster):
    made = stage(forecaster, max_model_age_days=5.0, when_stale="abstain")

    leg = last_leg(run(made, crosses(forecaster, 1, days=9)))

    assert leg.abstains.all()
    assert not leg.certainty.any()


def test_a_models_age_counts_from_the_last_it_was_made_from(forecaster):
    artefact = runtime.load("forecast_1s", kind="forecast", interval=SECOND)

    assert forecaster.trained_until == trained_until(artefact.entry)
    assert forecaster.trained_until == max(each["to_ns"] for each in artefact.entry["seen"])
