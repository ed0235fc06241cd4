"""A late trade repairs its bar where the log has Clocks of its own, and is refused elsewhere."""

from operators.bars import Bars
from operators.messages import SECOND, Bar, BarQuality, Clock, Gap, Reason, Rejection, Repaired
from operators.open_bars import BarSettings
from operators.quality import Quality
from operators.quality_limits import QualityLimits
from tests.support import tick


class Path:
    """Quality and bars of one symbol."""

    def __init__(self, repairs=True):
        self.quality = Quality(QualityLimits(repairs_late=repairs))
        self.bars = Bars(BarSettings(least_bars=15))

    def push(self, *messages):
        return [
            found
            for message in messages
            for checked in self.quality.on(message)
            for found in self.bars.on(checked)
        ]


def trade(second, trade_id, received=None, **fields):
    ts = int(second * SECOND)
    received = ts if received is None else int(received * SECOND)
    return tick(ts_event=ts, ts_init=received, trade_id=trade_id, offset=trade_id, **fields)


def clock(second):
    return Clock(ts_event=second * SECOND, symbol="BTCUSDT")


def test_late_trade_repairs_the_bar_that_it_belongs_to():
    path = Path()
    path.push(trade(0.1, 1), clock(1), trade(1.5, 2), clock(2))
    late = path.push(trade(1.9, 3, received=2.4, price=101.0), trade(2.5, 4), clock(3))

    [repaired] = [found for found in late if isinstance(found, Repaired)]
    [bar] = repaired.bars
    assert (bar.ts_close, bar.trades, bar.close) == (2 * SECOND, 2, 101.0)
    assert bar.quality is BarQuality.BACKFILLED
    assert repaired.known_at == 3 * SECOND
    assert not any(isinstance(found, Gap | Rejection) for found in late)


def test_order_of_arrival_makes_no_difference_to_the_bar():
    first, second = Path(), Path()
    begin = (trade(0.1, 1), clock(1))
    trades = [trade(1.1 + n / 10, 2 + n, price=100.0 + n / 10) for n in range(6)]
    [whole] = [b for b in first.push(*begin, *trades, clock(2)) if isinstance(b, Bar)][1:]
    second.push(*begin, trades[0], trades[5], clock(2), *reversed(trades[1:5]))
    [repaired] = [r for r in second.push(clock(3)) if isinstance(r, Repaired)]

    numbers = ("open", "high", "low", "close", "volume", "vwap", "trades")
    assert [getattr(repaired.bars[0], n) for n in numbers] == [getattr(whole, n) for n in numbers]


def test_late_trade_is_taken_once():
    path = Path()
    path.push(trade(0.1, 1), clock(1), trade(1.5, 2), clock(2), trade(1.9, 3, received=2.4))
    [again] = path.push(trade(1.9, 3, received=2.5))

    assert again.reason is Reason.DUPLICATE


def test_trade_whose_bar_is_gone_is_refused():
    path = Path()
    path.push(trade(0.1, 1), clock(1))
    for second in range(1, 40):
        path.push(trade(second + 0.5, second + 2), clock(second + 1))
    [refused] = [m for m in path.push(trade(0.9, 2, received=40)) if isinstance(m, Rejection)]

    assert refused.reason is Reason.LATE


def test_where_clocks_are_inferred_late_is_late():
    path = Path(repairs=False)
    path.push(trade(0.1, 1), clock(1), trade(1.5, 2), clock(2))
    [refused] = path.push(trade(1.9, 3, received=2.4))

    assert refused.reason is Reason.LATE


def test_trade_without_an_id_cannot_be_told_from_a_copy_and_stays_late():
    path = Path()
    path.push(trade(0.1, 1), clock(1), trade(1.5, 2), clock(2))
    [refused] = path.push(tick(ts_event=19 * SECOND // 10, ts_init=24 * SECOND // 10))

    assert refused.reason is Reason.LATE


def test_late_total_of_the_day_counts_from_when_it_was_known():
    path = Path()
    at = int(3.4 * SECOND)
    path.push(
        tick(venue="yahoo", size=0.0, day_volume=10.0, ts_event=SECOND, ts_init=SECOND), clock(3)
    )
    late = tick(
        venue="yahoo", size=0.0, day_volume=14.0, price=101.0, ts_event=2 * SECOND, ts_init=at
    )
    assert path.push(late) == []
    [bar] = [b for b in path.push(clock(4)) if isinstance(b, Bar)]

    assert (bar.trades, bar.volume, bar.close) == (1, 4.0, 101.0)


def test_total_of_the_day_that_is_stale_stays_so():
    path = Path()
    path.push(tick(venue="yahoo", size=0.0, day_volume=10.0, ts_event=SECOND, ts_init=SECOND))
    path.push(clock(30))
    [refused] = path.push(
        tick(venue="yahoo", size=0.0, day_volume=11.0, ts_event=2 * SECOND, ts_init=30 * SECOND)
    )

    assert refused.reason is Reason.STALE
