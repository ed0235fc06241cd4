"""What the evaluation report says of a forecast, on samples made here."""

import numpy as np
import pytest

from models import datasets, runtime, statistics
from models.bar_files import read_bars
from models.context import relative_bars
from models.lstm_transformer.samples import Samples, Stack, _neutral
from models.lstm_transformer.study import DELAYS, delayed, drift, reliability, shuffled, study
from models.schema import FEATURES
from tests.support import EQKER, MINUTE


@pytest.fixture(scope="module")
def bars():
    frame = read_bars(EQKER, tz="America/New_York", interval=MINUTE)
    some = frame["symbol"].unique().sort().head(4).to_list()
    frame = frame.filter(frame["symbol"].is_in(some))
    return datasets.from_frame(frame, interval_ns=MINUTE, calendar="XNYS")


@pytest.fixture(scope="module")
def stack(bars):
    """Real bars of 2019, which no model has seen, cut in two."""
    features, parts, base = [], [], 0
    for code, symbol in enumerate(bars.values()):
        label = datasets.labels(symbol, 15)
        at = np.flatnonzero(symbol.ready & np.isfinite(label) & (symbol.volatility > 1e-9))[::5]
        target = np.clip(label[at] / symbol.volatility[at] / np.sqrt(15), -6, 6)
        parts.append(
            Samples(
                at + base, symbol.ts_close[at], np.full(len(at), code), label[at], target, target
            )
        )
        features.append(symbol.features)
        base += len(symbol)
    whole = _neutral(
        Samples(*(np.concatenate([getattr(p, f) for p in parts]) for f in Samples.__annotations__))
    )
    middle = np.median(whole.ts_close)
    splits = {
        "fit": whole.take(whole.ts_close < middle),
        "test": whole.take(whole.ts_close >= middle),
    }
    market = np.concatenate([symbol.features for symbol in relative_bars(bars).values()])
    closes = np.concatenate([symbol.ts_close for symbol in bars.values()])
    of = np.repeat(np.arange(len(bars)), [len(symbol) for symbol in bars.values()])
    return Stack(np.concatenate(features), market, closes, of, tuple(bars), splits, [], {})


def test_study_says_what_plain_statistics_say(stack):
    found = study("1m", stack)
    test = stack.splits["test"]
    assert found["n"] == len(test)
    assert sum(each["n"] for each in found["by_day"]) == len(test)
    assert sum(each["n"] for each in found["by_symbol"].values()) == len(test)
    ours, theirs = (found["metrics"][name]["day"] for name in ("model", "logistic regression"))
    for metric in ("auc", "ic", "neutral_ic"):
        assert found["better_than_logistic"]["day"][metric][0] == pytest.approx(
            ours[metric][0] - theirs[metric][0]
        )
    assert 0.0 <= found["coverage"]["below_low"] <= 1.0


def test_labels_dealt_anew_teach_nothing(stack):
    estimate, low, high = shuffled(stack, seed=3)
    assert low < 0.5 < high or abs(estimate - 0.5) < 0.05


def test_reliability_has_bins_of_equal_count_in_order():
    chances = np.linspace(0.0, 1.0, 300)
    found = reliability(chances > 0.5, chances, bins=3)
    assert [each["n"] for each in found] == [100, 100, 100]
    assert [each["rose"] for each in found] == [0.0, 0.5, 1.0]


def test_drift_finds_the_feature_that_moved_and_no_other():
    rng = np.random.default_rng(0)
    fit, other = rng.normal(size=(2, 5_000, len(FEATURES))).astype(np.float32)
    other[:, 5] += 1.0
    found = drift(fit, other)
    assert next(iter(found)) == FEATURES[5]
    assert found[FEATURES[5]] > 0.5
    assert max(value for name, value in found.items() if name != FEATURES[5]) < 0.05


def test_delayed_ic_begins_as_the_plain_one(bars):
    artefact = runtime.load("forecast_1m", kind="forecast", interval=MINUTE)
    found = delayed(bars, artefact, after=0)
    assert tuple(found) == DELAYS
    from models.lstm_transformer.evaluation import measure

    plain = measure(bars, artefact)
    assert found[0][0] == pytest.approx(plain["ic"][0], abs=0.02)  # rows that abstain count here
    assert statistics.days_of(np.array([0, 1, 86_400_000_000_000])).tolist() == [0, 0, 1]
