"""A real market through outages: every trade counts once, and features are as if none had been."""

import numpy as np
import pytest

from flows.settings import load_profile
from models.schema import FEATURES, HISTORY
from operators.indicators import Indicators
from operators.messages import (
    SECOND,
    Bar,
    BarQuality,
    Features,
    Gap,
    HoleState,
    Rejection,
    Repaired,
    Tick,
)
from operators.normalise import normalise
from tests.chain import makers
from tests.holes import known
from tests.outages import BEHIND, Outage, log, recorded

SYMBOL = "BTCUSDT"
QUOTED = {"spread", "spread_ratio_20", "imbalance", "imbalance_mean_10", "has_quotes"}
TRADED = [column for column, name in enumerate(FEATURES) if name not in QUOTED]


class Path:
    """What became of one symbol's messages, stage by stage."""

    def __init__(self, raws):
        settings = load_profile("demo")
        make = makers(settings, None)
        clocks, quality, bars = make["clocks"](), make["quality"](), make["bars"]()
        indicators = Indicators()
        self.barred, self.features = [], []
        self.ticks = 0
        for message in normalise(raws, settings.clock.receive_offset_ns):
            for key, routed in clocks.on(message):
                if key != SYMBOL:
                    continue
                self.ticks += isinstance(routed, Tick)
                for checked in quality.on(routed):
                    for made in bars.on(checked):
                        self.barred.append(made)
                        self.features.extend(
                            f for f in indicators.on(made) if isinstance(f, Features)
                        )
        self.open = sum(t.count for t in bars.on_end() if t.name == "open_trades")

    def of(self, kind):
        """Return the messages of a kind that bars let through or made."""
        return [m for m in self.barred if isinstance(m, kind)]


@pytest.fixture(scope="module")
def rows():
    return recorded(100_500)  # 440 s


@pytest.fixture(scope="module")
def whole(rows):
    return Path(log(rows))


# Seconds 60 to 70, fetched by 75, before there is any row of features; and 210 to 225, fetched
# by 235, when the window is full and 187 bars still follow.
OUTAGES = [(12_941, 14_784, 15_413), (37_000, 41_101, 43_374)]


@pytest.fixture(scope="module")
def broken(rows):
    return Path(log(rows, [Outage(SYMBOL, *span, quotes=True) for span in OUTAGES]))


def test_every_trade_counts_once(whole, broken):
    assert broken.ticks == whole.ticks
    for path in (whole, broken):
        counted = sum(made.trades for made in known(path.barred).values())
        rejected = [m for m in path.of(Rejection) if b'"trade_id"' in m.payload]
        assert counted + path.open + len(rejected) == path.ticks
    last = {gap.first_id: gap for gap in broken.of(Gap)}
    assert last
    assert all(gap.filled == gap.last_id - gap.first_id + 1 for gap in last.values())


def test_repaired_bars_are_those_of_an_undisturbed_run(whole, broken):
    first, second = known(whole.barred), known(broken.barred)
    numbers = ("open", "high", "low", "close", "volume", "vwap", "trades")

    assert first.keys() == second.keys()
    for at, made in first.items():
        assert [getattr(second[at], n) for n in numbers] == [getattr(made, n) for n in numbers]
    assert {made.quality for made in second.values()} <= {
        BarQuality.OBSERVED,
        BarQuality.QUIET,
        BarQuality.BACKFILLED,
    }


def test_bars_of_the_outage_were_gaps_when_they_were_first_told(rows, broken):
    for begin, end, _ in OUTAGES:
        first, last = (rows[n][0] + BEHIND for n in (begin, end))
        inside = [
            m.quality
            for m in broken.of(Bar)
            if first < m.ts_close and m.ts_close - m.interval < last
        ]
        assert len(inside) >= 10
        assert set(inside) == {BarQuality.GAP}


def test_trade_features_are_those_of_an_undisturbed_run_at_once(whole, broken):
    undisturbed = {f.ts_close: f for f in whole.features}
    repairs = [(repaired.bars[0].ts_close, repaired.known_at) for repaired in broken.of(Repaired)]
    assert len(repairs) == len(OUTAGES)
    compared = set()
    for found in broken.features:
        expected = undisturbed[found.ts_close]
        assert found.ready == expected.ready
        if found.ready and not any(first <= found.ts_close < known for first, known in repairs):
            compared.add(found.ts_close)
            np.testing.assert_array_equal(found.window[:, TRADED], expected.window[:, TRADED])
            assert found.volatility == expected.volatility
    assert repairs[1][1] in compared


def test_all_features_are_those_of_an_undisturbed_run_after_187_bars(whole, broken):
    last = max(repaired.known_at for repaired in broken.of(Repaired))
    undisturbed = {f.ts_close: f for f in whole.features}
    after = [f for f in broken.features if f.ts_close > last + HISTORY * SECOND]

    assert after
    for found in after:
        assert found.window.tobytes() == undisturbed[found.ts_close].window.tobytes()


def test_outage_that_stays_unfilled_stays_a_gap_and_is_counted_as_missing(rows):
    outage = Outage(SYMBOL, *OUTAGES[0], state=HoleState.UNFILLED)
    path = Path(log(rows[:20_000], [outage]))
    [gap] = path.of(Gap)

    assert gap.last_id - gap.first_id + 1 - gap.filled == len(outage.missed)
    assert sum(b.quality is BarQuality.GAP for b in known(path.barred).values()) >= 10
    assert path.of(Repaired) == []
