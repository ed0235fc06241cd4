"""Intervals are met at their horizon, counted once, and widened where they missed."""

import numpy as np
import pytest

from operators.coverage import LEAST, MOST, Coverage, CoverageSettings
from operators.messages import SECOND, BarQuality
from tests.support import bar, cross_section

SYMBOLS = ("A", "B")
# Of a normal return: the widths that hold a share of it, relative to that of nine tenths.
SHARES = np.linspace(0.0, 1.0, 101)
SAMPLE = np.random.default_rng(5).normal(size=200_000)
WIDTHS = (np.quantile(SAMPLE, SHARES) / np.quantile(SAMPLE, 0.9)).tolist()


def coverage(symbols=SYMBOLS, horizon=2, step=0.01):
    return Coverage(len(symbols), horizon, (WIDTHS, WIDTHS), CoverageSettings(step=step))


def at(ts_close, *closes, **fields):
    return cross_section(SYMBOLS, ts_close, closes=closes or (100.0, 100.0), **fields)


def quantiles(reach=0.01):
    return np.tile([-reach, 0.0, reach], (len(SYMBOLS), 1))


def counts(tracked):
    return (tracked.state.below, tracked.state.within, tracked.state.above)


NONE_ABSTAIN = np.zeros(2, bool)


def test_returns_at_the_horizon_fall_below_within_or_above():
    tracked = coverage()
    tracked.follow(at(2), quantiles(), NONE_ABSTAIN)

    assert not tracked.settle(at(3, 150.0, 150.0))  # not due
    assert tracked.settle(at(4, 100.5, 102.0))
    assert counts(tracked) == (0, 1, 1)

    tracked.follow(at(4), quantiles(), NONE_ABSTAIN)
    tracked.settle(at(6, 98.0, 100.0))
    assert counts(tracked) == (1, 2, 1)


def test_intervals_that_would_overlap_are_not_followed():
    tracked = coverage()

    tracked.follow(at(3), quantiles(), NONE_ABSTAIN)

    assert tracked.state.due == 0
    assert not tracked.settle(at(5))


def test_an_interval_without_its_bar_is_not_counted():
    tracked = coverage()
    tracked.follow(at(2), quantiles(), NONE_ABSTAIN)

    assert not tracked.settle(at(5))  # the due close never came
    tracked.follow(at(6), quantiles(), np.array([True, False]))
    tracked.settle(at(8, bars=(bar("A", ts_close=8), None)))

    assert counts(tracked) == (0, 0, 0)


@pytest.mark.parametrize(
    "fields", [{"session_left": 1}, {"quality": BarQuality.GAP}], ids=["session's end", "gap"]
)
def test_an_interval_without_an_outcome_is_not_followed(fields):
    tracked = coverage()
    bars = (bar("A", ts_close=2, **fields), bar("B", ts_close=2))

    tracked.follow(at(2, bars=bars), quantiles(), NONE_ABSTAIN)
    tracked.settle(at(4))

    assert counts(tracked) == (0, 1, 0)


def test_at_first_intervals_are_the_models_own():
    np.testing.assert_allclose(coverage().widened(quantiles()), quantiles(), rtol=1e-12)


def test_a_miss_widens_that_side_of_that_symbol_alone():
    tracked = coverage(step=0.1)
    tracked.follow(at(2), quantiles(), NONE_ABSTAIN)
    tracked.settle(at(4, 110.0, 100.0))

    found = tracked.widened(quantiles())

    assert found[0, 2] > 0.01  # missed above
    assert found[0, 0] > -0.01  # held below: narrower
    assert found[1, 2] < 0.01
    np.testing.assert_array_equal(found[:, 1], 0.0)


def followed_through(step, volatility, closes=4_000):
    """Return the share within, of returns of this volatility against intervals for one of 1 %."""
    tracked = coverage(step=step)
    half = 0.01 * np.quantile(SAMPLE, 0.9)
    moves = np.random.default_rng(11).normal(scale=volatility, size=(closes, 2))
    price = np.array([100.0, 100.0])
    for number in range(closes):
        tracked.follow(at(2 * number + 2, *price), tracked.widened(quantiles(half)), NONE_ABSTAIN)
        price = price * np.exp(moves[number])
        tracked.settle(at(2 * number + 4, *price))
    below, within, above = counts(tracked)
    return within / (below + within + above), tracked


def test_intervals_too_narrow_by_a_third_come_to_hold_what_they_promise():
    kept, _ = followed_through(step=0.0, volatility=0.015)
    corrected, tracked = followed_through(step=0.01, volatility=0.015)

    assert kept < 0.65
    assert corrected == pytest.approx(0.8, abs=0.015)
    assert ((tracked.state.miss > LEAST) & (tracked.state.miss < 0.1)).all()


def test_the_correction_stays_in_its_bounds():
    _, tracked = followed_through(step=0.2, volatility=1.0, closes=200)
    assert (tracked.state.miss >= LEAST).all()

    _, tracked = followed_through(step=0.2, volatility=1e-5, closes=200)
    assert (tracked.state.miss <= MOST).all()


def test_a_symbols_intervals_do_not_depend_on_the_others():
    both, alone = coverage(step=0.1), coverage(("A",), step=0.1)
    both.follow(at(2), quantiles(), NONE_ABSTAIN)
    both.settle(at(4, 110.0, 90.0))
    alone.follow(cross_section(("A",), 2), quantiles()[:1], NONE_ABSTAIN[:1])
    alone.settle(cross_section(("A",), 4, closes=(110.0,)))

    np.testing.assert_array_equal(both.widened(quantiles())[:1], alone.widened(quantiles()[:1]))


def test_a_step_out_of_range_is_refused():
    with pytest.raises(ValueError, match="step"):
        CoverageSettings(step=-0.1)


def test_due_follows_event_time():
    tracked = coverage()
    tracked.follow(at(2), quantiles(), NONE_ABSTAIN)

    assert tracked.state.due == 4 * SECOND
