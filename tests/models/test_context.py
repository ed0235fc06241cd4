"""Features against the market: the same in serving and on stored bars."""

import numpy as np
import polars as pl
import pytest

from models import datasets
from models.bar_files import read_bars
from models.context import relative, relative_bars
from tests.support import EQKER, MINUTE


@pytest.fixture(scope="module")
def by_symbol():
    frame = read_bars(EQKER, tz="America/New_York", interval=MINUTE)
    frame = frame.filter(pl.col("symbol").is_in(["BAC", "SPY", "UGA", "XOM"]))
    return datasets.from_frame(frame, interval_ns=MINUTE, calendar="XNYS")


def test_stored_bars_read_as_a_cross_section_does(by_symbol):
    read = relative_bars(by_symbol)
    stamps = set.intersection(*(set(bars.ts_close[bars.ready]) for bars in by_symbol.values()))
    for moment in sorted(stamps)[:: len(stamps) // 7]:
        at = {name: int(np.searchsorted(bars.ts_close, moment)) for name, bars in by_symbol.items()}
        windows = np.concatenate(
            [bars.windows(np.array([at[name]])) for name, bars in by_symbol.items()]
        )
        served = relative(windows, np.ones(len(windows), bool))
        for row, (name, bars) in enumerate(read.items()):
            np.testing.assert_allclose(
                served[row], bars.windows(np.array([at[name]]))[0], rtol=0, atol=1e-5
            )


def test_a_market_of_one_stays_as_it_is(by_symbol):
    alone = {"SPY": by_symbol["SPY"]}
    np.testing.assert_array_equal(relative_bars(alone)["SPY"].features, by_symbol["SPY"].features)
    windows = np.ones((3, 2, 5), np.float32)
    np.testing.assert_array_equal(relative(windows, np.array([True, False, False])), windows)


def test_symbols_that_are_not_ready_do_not_count(by_symbol):
    rng = np.random.default_rng(0)
    windows = rng.normal(size=(4, 2, 5)).astype(np.float32)
    ready = np.array([True, True, True, False])
    changed = windows.copy()
    changed[3] = 1e6
    np.testing.assert_array_equal(relative(windows, ready)[:3], relative(changed, ready)[:3])
    np.testing.assert_allclose(relative(windows, ready)[:3].mean(axis=0), 0.0, atol=1e-6)


def test_the_bars_given_are_left_alone(by_symbol):
    before = by_symbol["BAC"].features.copy()
    relative_bars(by_symbol)
    np.testing.assert_array_equal(by_symbol["BAC"].features, before)
