"""Evaluation refuses what the model has seen, and measures what it says it measures."""

import numpy as np
import polars as pl
import pytest

from models import datasets, runtime, statistics
from models.bar_files import read_bars
from models.context import relative_bars
from models.lstm_transformer import baselines
from models.lstm_transformer.evaluation import calendar_of, evaluate
from models.lstm_transformer.forecaster import Forecaster
from models.runtime import Artefact
from models.schema import FEATURES
from models.seen import SeenData
from tests.support import EQKER, MINUTE, SECOND

SYMBOLS = ("JPM", "SPY")


@pytest.fixture(scope="module")
def frame():
    bars = read_bars(EQKER, tz="America/New_York", interval=MINUTE)
    first = bars.filter(pl.col("symbol").is_in(SYMBOLS))
    return first.filter(pl.col("ts_close") < first["ts_close"].min() + 2 * 86_400 * SECOND)


@pytest.fixture(scope="module")
def artefact():
    return runtime.load("forecast_1m", kind="forecast", interval=MINUTE)


@pytest.fixture(scope="module")
def report(frame, artefact):
    return evaluate(frame, artefact, stride=10)


def seen(artefact, frame, symbols, shift=0):
    """Return the artefact as if it had been fitted on these bars."""
    span = {
        "dataset": "here",
        "symbols": list(symbols),
        "from_ns": int(frame["ts_close"].min()) + shift,
        "to_ns": int(frame["ts_close"].max()) + shift,
        "use": "fit",
    }
    return Artefact(artefact.name, artefact.entry | {"seen": [span]}, artefact.folder)


def test_the_report_holds_estimates_with_intervals_and_baselines(report):
    for name in ("auc", "ic", "ic_value", "hit_rate", "brier", "ece"):
        estimate, low, high = report[name]
        assert low <= high
        assert np.isfinite([estimate, low, high]).all()
    assert report["blocks"]["kind"] == "hour"
    assert report["blocks"]["count"] >= 10
    for baseline in ("logistic", "momentum"):
        assert len(report["baselines"][baseline]["auc"]) == 3
        assert len(report["baselines"][baseline]["ic"]) == 3


def test_the_report_equals_a_computation_by_hand(frame, artefact, report):
    scores, returns = [], []
    forecaster = Forecaster(artefact)
    by_symbol = datasets.from_frame(frame, interval_ns=MINUTE, calendar="XNYS")
    read = relative_bars(by_symbol)
    for name, bars in by_symbol.items():
        for row in range(len(bars)):
            on_stride = bars.ts_close[row] % (10 * MINUTE) == 0
            if not bars.ready[row] or not on_stride or bars.session_left[row] < 15:
                continue
            if row + 15 >= len(bars):
                continue
            forecast = forecaster.predict_inputs(
                read[name].windows(np.array([row])), bars.volatility[[row]], np.ones(1, bool)
            )
            if not forecast.abstains[0]:
                scores.append(forecast.value[0])
                returns.append(np.log(bars.close[row + 15] / bars.close[row]))

    assert report["n"] == len(scores)
    expected = statistics.ic(np.array(scores), np.array(returns))
    assert report["ic_value"][0] == pytest.approx(expected, abs=1e-3)


def test_evaluation_repeats(frame, artefact, report):
    assert evaluate(frame, artefact, stride=10) == report


def test_seen_bars_are_refused_and_the_refusal_says_why(frame, artefact):
    with pytest.raises(SeenData, match=r"SPY .* served for fit .*--allow-seen"):
        evaluate(frame, seen(artefact, frame, ["SPY"]))


def test_other_symbols_and_other_times_are_not_refused(frame, artefact, report):
    other_symbol = seen(artefact, frame, ["AAPL"])
    other_time = seen(artefact, frame, SYMBOLS, shift=-30 * 86_400 * SECOND)

    assert evaluate(frame, other_symbol, stride=10)["auc"] == report["auc"]
    assert evaluate(frame, other_time, stride=10)["auc"] == report["auc"]


def test_allow_seen_measures_nevertheless(frame, artefact, report):
    found = evaluate(frame, seen(artefact, frame, ["SPY"]), allow_seen=True, stride=10)

    assert found["auc"] == report["auc"]


def test_what_the_model_was_fitted_on_is_refused(artefact):
    span = next(each for each in artefact.entry["seen"] if each["use"] == "fit")
    stamps = span["from_ns"] // MINUTE * MINUTE + np.arange(1, 301) * MINUTE
    price = np.linspace(100.0, 101.0, 300)
    frame = pl.DataFrame(
        {
            "symbol": [span["symbols"][0]] * 300,
            "ts_close": stamps,
            **dict.fromkeys(("open", "high", "low", "close"), price),
            "volume": np.ones(300),
        }
    )

    with pytest.raises(SeenData):
        evaluate(frame, artefact)


def test_too_few_bars_are_said_to_be_too_few(frame, artefact):
    with pytest.raises(ValueError, match="187 bars"):
        evaluate(frame.filter(pl.col("symbol") == "SPY").head(150), artefact)


def test_the_calendar_is_told_from_the_bars(frame):
    always = pl.DataFrame({"ts_close": np.arange(1, 3_000) * MINUTE})

    assert calendar_of(frame, MINUTE) == "XNYS"
    assert calendar_of(always, MINUTE) == "24/7"


def test_the_logistic_baseline_equals_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    random = np.random.default_rng(5)
    rows = random.normal(size=(3_000, len(FEATURES))).astype(np.float32)
    up = random.random(3_000) < 1.0 / (1.0 + np.exp(-rows[:, 0] + 0.5 * rows[:, 3]))
    mask = np.ones(len(FEATURES))

    ours = baselines.fit(rows, up, mask)
    scaled = (rows - ours.mean) / ours.scale
    theirs = linear.LogisticRegression(C=1.0 / baselines.RIDGE, tol=1e-10, max_iter=1_000)
    theirs.fit(scaled, up)

    np.testing.assert_allclose(ours.weights, theirs.coef_[0], atol=1e-5)
    np.testing.assert_allclose(
        ours.probability(rows), theirs.predict_proba(scaled)[:, 1], atol=1e-5
    )


def test_the_logistic_baseline_is_stored_as_numbers(tmp_path):
    model = baselines.Logistic(
        np.zeros(len(FEATURES)), np.ones(len(FEATURES)), np.arange(float(len(FEATURES))), 0.25
    )
    model.write(tmp_path / "baseline.json")

    again = baselines.Logistic.read(tmp_path / "baseline.json")

    np.testing.assert_array_equal(again.weights, model.weights)
    assert again.bias == 0.25
