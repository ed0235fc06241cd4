"""After an outage the engine stands where it would stand without it."""

import random
from functools import cache

import numpy as np
import pytest

from flows.models import load_models
from flows.settings import load_profile
from models.schema import FEATURES, HISTORY
from operators.messages import (
    SECOND,
    BarQuality,
    CrossSection,
    Decision,
    Gap,
    Leg,
    Rejection,
)
from tests.chain import Chain
from tests.cut_log import LATENESS, clean, disturbed, numbered

LINES = 120_000  # some 440 seconds
QUOTED = [name for name in FEATURES if "spread" in name or "imbalance" in name or "quotes" in name]
TRADED = [place for place, name in enumerate(FEATURES) if name not in QUOTED]
BOTH = ("BTCUSDT", "ETHUSDT")


@cache
def parts():
    settings = load_profile("binance")
    return settings, load_models(settings)


def run(entries):
    return Chain(*parts()).push(numbered(entries))


@pytest.fixture(scope="module")
def undisturbed():
    return run(clean(LINES))


def sections(chain):
    found = chain.given["forecast", "0"]
    return {cross.ts_close: cross for cross in found if isinstance(cross, CrossSection)}


def forecasts(chain):
    found = chain.given["fusion", "0"]
    return {leg.ts_close: leg for leg in found if isinstance(leg, Leg) and leg.name == "forecast"}


def final_bars(chain):
    """Return the last form of every bar."""
    bars = {}
    for cross in sections(chain).values():
        for repaired in cross.repaired:
            bars.update({(bar.symbol, bar.ts_close): bar for bar in repaired.bars})
        bars.update({(bar.symbol, bar.ts_close): bar for bar in cross.bars if bar is not None})
    return bars


def traded(bar):
    return (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trades, bar.vwap)


def moments(seed, count):
    """Return outages at random: begin after the first bar, length, detection and symbols."""
    drawn = random.Random(seed)
    first = clean(LINES)[0][2]
    for _ in range(count):
        yield (
            first + drawn.randint(3 * SECOND, 190 * SECOND),
            drawn.choice((SECOND // 5, SECOND, 7 * SECOND, 40 * SECOND)) + drawn.randint(0, SECOND),
            drawn.choice((SECOND // 20, 3 * SECOND)),
            drawn.choice((BOTH, BOTH[:1], BOTH[1:])),
        )


@pytest.mark.parametrize(("begin", "seconds", "detected", "symbols"), list(moments(11, 6)))
def test_fetched_trades_make_every_bar_what_it_would_have_been(
    undisturbed, begin, seconds, detected, symbols
):
    end = begin + seconds
    chain = run(disturbed(clean(LINES), begin, end, symbols, detected=detected))

    expected, found = final_bars(undisturbed), final_bars(chain)
    assert {key: traded(bar) for key, bar in found.items()} == {
        key: traded(bar) for key, bar in expected.items()
    }
    assert not any(isinstance(one, Rejection) for one in chain.records)
    assert all(one.filled == one.last_id - one.first_id + 1 for one in last_gaps(chain).values())
    assert {bar.quality for bar in found.values()} <= {
        BarQuality.OBSERVED,
        BarQuality.QUIET,
        BarQuality.BACKFILLED,
    }


def last_gaps(chain):
    gaps = [one for one in chain.records if isinstance(one, Gap)]
    return {(gap.symbol, gap.first_id): gap for gap in gaps}


@pytest.mark.parametrize(("begin", "seconds", "detected", "symbols"), list(moments(29, 3)))
def test_trade_features_are_right_at_once_and_everything_after_a_window(
    undisturbed, begin, seconds, detected, symbols
):
    end = begin + seconds
    chain = run(disturbed(clean(LINES), begin, end, symbols, detected=detected))

    before, after = sections(undisturbed), sections(chain)
    assert before.keys() == after.keys()
    repaired_by = (end + LATENESS) // SECOND * SECOND + 2 * SECOND
    late = [at for at in after if at >= repaired_by]
    assert len(late) > HISTORY
    for at in late:
        np.testing.assert_array_equal(
            after[at].features[:, :, TRADED], before[at].features[:, :, TRADED]
        )
    whole = [at for at in late if at > repaired_by + HISTORY * SECOND]
    assert len(whole) > 20
    expected, found = forecasts(undisturbed), forecasts(chain)
    for at in whole:
        np.testing.assert_array_equal(after[at].features, before[at].features)
        np.testing.assert_array_equal(found[at].value, expected[at].value)
        np.testing.assert_array_equal(found[at].certainty, expected[at].certainty)


def test_signals_decided_during_an_outage_say_so():
    first = clean(LINES)[0][2]
    begin = first + (HISTORY + 30) * SECOND
    end = begin + 20 * SECOND
    chain = run(disturbed(clean(LINES), begin, end, BOTH[:1]))

    said = {"BTCUSDT": [], "ETHUSDT": []}
    for result in chain.results:
        if isinstance(result, Decision):
            for signal in result.signals:
                if "gap" in signal.reasons:
                    said[signal.symbol].append(signal.ts_close)
    inside = [at for at in sections(chain) if begin + LATENESS < at <= end - SECOND]
    assert len(inside) >= 18
    assert set(inside) <= set(said["BTCUSDT"])
    assert max(said["BTCUSDT"]) <= end + SECOND
    assert said["ETHUSDT"] == []


def test_without_a_fetch_the_bars_stay_gaps_and_the_ledger_tells_the_ids(undisturbed):
    first = clean(LINES)[0][2]
    begin, end = first + 60 * SECOND, first + 75 * SECOND
    chain = run(disturbed(clean(LINES), begin, end, BOTH, fetch=False))

    expected, found = final_bars(undisturbed), final_bars(chain)
    lost = sum(bar.trades for bar in expected.values()) - sum(bar.trades for bar in found.values())
    gaps = last_gaps(chain).values()
    assert lost == sum(gap.last_id - gap.first_id + 1 - gap.filled for gap in gaps) > 0
    wrong = {key for key, bar in found.items() if traded(bar) != traded(expected[key])}
    marked = {key for key, bar in found.items() if bar.quality is BarQuality.GAP}
    assert wrong <= marked
