"""Statistics agree with scikit-learn's and SciPy's, and their intervals repeat."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import statistics

RANDOM = np.random.default_rng(3)
UP = RANDOM.random(400) < 0.5
# Rounded, so that there are ties.
SCORES = np.round(RANDOM.normal(size=400) + 0.4 * UP, 1)
RETURNS = np.round(RANDOM.normal(size=400) + SCORES, 1)
CHANCES = 1.0 / (1.0 + np.exp(-SCORES))


def test_auc_equals_scikit_learn_with_ties():
    metrics = pytest.importorskip("sklearn.metrics")

    assert statistics.auc(UP, SCORES) == pytest.approx(metrics.roc_auc_score(UP, SCORES), abs=1e-12)


def test_auc_with_weights_equals_repeating_the_rows():
    times = RANDOM.integers(0, 4, 400)

    weighted = statistics.weighted_auc(UP, SCORES)(times.astype(float))

    repeated = statistics.auc(np.repeat(UP, times), np.repeat(SCORES, times))
    assert weighted == pytest.approx(repeated, abs=1e-12)


def test_ic_equals_scipy_with_ties():
    stats = pytest.importorskip("scipy.stats")

    expected = stats.spearmanr(SCORES, RETURNS).statistic
    assert statistics.ic(SCORES, RETURNS) == pytest.approx(expected, abs=1e-12)


def test_ic_with_weights_equals_repeating_the_rows():
    times = RANDOM.integers(0, 4, 400)

    weighted = statistics.weighted_ic(SCORES, RETURNS)(times.astype(float))

    repeated = statistics.ic(np.repeat(SCORES, times), np.repeat(RETURNS, times))
    assert weighted == pytest.approx(repeated, abs=1e-12)


def test_brier_equals_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")

    expected = metrics.brier_score_loss(UP, CHANCES)
    assert statistics.brier(UP, CHANCES) == pytest.approx(expected, abs=1e-12)


def test_ece_is_the_mean_gap_of_equally_filled_bins():
    chances = np.repeat([0.1, 0.9], 50)
    up = np.concatenate((np.arange(50) < 15, np.arange(50) < 45))  # 30 % and 90 % rise

    assert statistics.ece(up, chances, bins=2) == pytest.approx(0.5 * 0.2 + 0.5 * 0.0)


def test_constant_scores_tell_nothing():
    assert statistics.auc(UP, np.zeros(400)) == 0.5
    assert np.isnan(statistics.ic(np.zeros(400), RETURNS))


@given(st.floats(0.1, 10.0), st.floats(-5.0, 5.0))
def test_auc_and_ic_depend_on_order_only(stretch: float, shift: float):
    moved = stretch * SCORES + shift

    assert statistics.auc(UP, moved) == pytest.approx(statistics.auc(UP, SCORES), abs=1e-12)
    assert statistics.ic(moved, RETURNS) == pytest.approx(statistics.ic(SCORES, RETURNS), abs=1e-12)


def test_bootstrap_repeats_with_its_seed_and_brackets_the_estimate():
    blocks = np.repeat(np.arange(20), 20)
    statistic = statistics.weighted_auc(UP, SCORES)

    first = statistics.block_bootstrap(statistic, blocks, seed=1, draws=200)

    assert first == statistics.block_bootstrap(statistic, blocks, seed=1, draws=200)
    assert first[1:] != statistics.block_bootstrap(statistic, blocks, seed=2, draws=200)[1:]
    assert first[1] < first[0] < first[2]


def test_bootstrap_of_dependent_rows_is_wider_than_of_independent_ones():
    values = np.repeat(RANDOM.normal(size=20), 50)
    statistic = statistics.weighted_mean(values)

    by_block = statistics.block_bootstrap(statistic, np.repeat(np.arange(20), 50), draws=300)
    by_row = statistics.block_bootstrap(statistic, np.arange(1000), draws=300)

    assert by_block[2] - by_block[1] > 3 * (by_row[2] - by_row[1])


def test_blocks_are_days_from_ten_days_on_and_hours_before():
    day, hour = 86_400_000_000_000, 3_600_000_000_000

    of_days, days = statistics.blocks_of(np.arange(10) * day)
    of_hours, hours = statistics.blocks_of(np.array([0, 1, hour, 9 * day]))

    assert days == {"kind": "day", "count": 10}
    assert of_days.tolist() == list(range(10))
    assert hours == {"kind": "hour", "count": 3}
    assert of_hours.tolist() == [0, 0, 1, 2]
