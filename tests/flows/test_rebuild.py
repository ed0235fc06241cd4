"""Windows are rebuilt in the forms that their bars had when they were decided on."""

from contextlib import closing

import msgspec
import numpy as np
import pytest

from connectors.sinks.sqlite import DAY, SqliteSink
from connectors.sinks.store import open_store
from flows.rebuild import _crosses
from flows.settings import GroupSettings, Settings
from models.schema import HISTORY
from operators.cross_section import CrossSections, CrossSectionSettings
from operators.errors import ExplanationError
from operators.indicators import Indicators, absent
from operators.messages import SECOND, BarQuality, CrossSection, Features, NoBar, Repaired
from tests.stores import TS, repaired, stored_bar

SYMBOLS = ("BTCUSDT", "ETHUSDT")
SETTINGS = Settings(group=GroupSettings(symbols=SYMBOLS))
COUNT = HISTORY + 40
HOLE = range(HISTORY + 3, HISTORY + 9)  # bars of the first symbol that close without trades


def at(n):
    return TS + n * SECOND


def walk(symbol, count=COUNT):
    """The bars of an undisturbed run."""
    generator = np.random.default_rng(len(symbol) * 7 + ord(symbol[0]))
    closes = 100.0 * np.exp(np.cumsum(generator.normal(0.0, 1e-4, count + 1)))
    made = []
    for n in range(count):
        first, last = float(closes[n]), float(closes[n + 1])
        wide = 1e-5 * float(generator.random())
        made.append(
            stored_bar(
                symbol,
                at(n),
                open=first,
                close=last,
                high=max(first, last) * (1 + wide),
                low=min(first, last) * (1 - wide),
                vwap=(first + last) / 2.0,
                volume=1.0 + float(generator.random()),
                spread=0.01,
                imbalance=float(generator.uniform(-1, 1)),
                session_fraction=n / 86_400,
            )
        )
    return made


def gap_form(bar, price):
    """How a bar closes that lost its trades: at the last price."""
    return msgspec.structs.replace(
        bar, open=price, high=price, low=price, close=price, vwap=price, volume=0.0, trades=0,
        quality=BarQuality.GAP,
    )  # fmt: skip


def backfilled(bar):
    return msgspec.structs.replace(bar, quality=BarQuality.BACKFILLED)


def disturbed():
    """Messages by bar close and symbol: a hole in the first symbol, repaired in two steps."""
    whole = {symbol: walk(symbol) for symbol in SYMBOLS}
    first, second = SYMBOLS
    price = whole[first][HOLE[0] - 1].close
    half = len(HOLE) // 2
    repairs = {
        HOLE[-1] + 2: [backfilled(whole[first][n]) for n in HOLE[:half]],
        HOLE[-1] + 5: [backfilled(whole[first][n]) for n in HOLE[half - 1 :]],
    }
    for n in range(COUNT):
        bar = whole[first][n]
        known = (repaired(*repairs[n], known_at=at(n)),) if n in repairs else ()
        yield n, first, (*known, gap_form(bar, price) if n in HOLE else bar)
        yield n, second, (whole[second][n],)


def flowed():
    """What the flow makes of it: the cross-sections, as the stages give them."""
    indicators = {symbol: Indicators() for symbol in SYMBOLS}
    sections = CrossSections(CrossSectionSettings(), SYMBOLS)
    return [
        cross
        for _, symbol, messages in disturbed()
        for message in messages
        for made in indicators[symbol].on(message)
        for cross in sections.on(made)
        if isinstance(cross, CrossSection)
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("rebuild") / "run.sqlite"
    part = SqliteSink(path).build_part("store", "0", None)
    part.write_batch([message for _, _, messages in disturbed() for message in messages])
    part.close()
    with closing(open_store(path, readonly=True)) as opened:
        yield opened


def same(one, other):
    assert one.ts_close == other.ts_close
    assert one.bars == other.bars
    assert one.repaired == other.repaired
    assert np.array_equal(one.ready, other.ready)
    assert one.volatility.tobytes() == other.volatility.tobytes()
    assert one.features.tobytes() == other.features.tobytes()


@pytest.mark.parametrize(
    "start",
    [None, *(HISTORY + n for n in (0, 2, 4, 9, 10, 11, 13, 14, 20))],
    ids=lambda start: f"from {start}",
)
def test_cross_sections_are_rebuilt_bit_for_bit_from_any_checkpoint(store, start):
    begin = 0 if start is None else at(start)
    expected = [cross for cross in flowed() if cross.ts_close > begin]
    made = list(_crosses(store, SETTINGS, None, begin, at(COUNT - 1)))
    assert [cross.ts_close for cross in made] == [cross.ts_close for cross in expected]
    for one, other in zip(made, expected, strict=True):
        same(one, other)


def test_window_holds_the_forms_known_at_its_time(store):
    """The same features as if the window had been made of those forms from the start."""
    forms = {n: messages[-1] for n, symbol, messages in disturbed() if symbol == SYMBOLS[0]}
    later = {
        n: messages[0].bars
        for n, symbol, messages in disturbed()
        if symbol == SYMBOLS[0] and isinstance(messages[0], Repaired)
    }
    by_close = {
        cross.ts_close: cross
        for cross in _crosses(store, SETTINGS, None, at(HISTORY), at(COUNT - 1))
    }
    seen = set()
    for n in range(HISTORY + 1, COUNT):
        if n in later:
            forms |= {(bar.ts_close - TS) // SECOND: bar for bar in later[n]}
        plain = Indicators()
        for k in range(n - HISTORY + 1, n + 1):
            (features,) = (each for each in plain.on(forms[k]) if isinstance(each, Features))
        assert features.window is not None
        cross = by_close[at(n)]
        assert cross.features[0].tobytes() == features.window.tobytes(), n
        seen.add(cross.features[0].tobytes())
    assert len(seen) == COUNT - HISTORY - 1


def test_repair_in_the_checkpoint_is_not_told_again(store):
    known = at(HOLE[-1] + 2)
    crosses = _crosses(store, SETTINGS, None, known, at(HOLE[-1] + 5))
    assert [[each.known_at for each in cross.repaired] for cross in crosses] == [
        [], [], [at(HOLE[-1] + 5)],
    ]  # fmt: skip


def test_symbol_without_a_price_yet_is_absent(tmp_path):
    bars = walk(SYMBOLS[0], 3)
    part = SqliteSink(tmp_path / "run.sqlite").build_part("store", "0", None)
    part.write_batch(bars)
    part.close()
    with closing(open_store(tmp_path / "run.sqlite", readonly=True)) as opened:
        crosses = list(_crosses(opened, SETTINGS, None, 0, at(2)))
    assert [cross.bars for cross in crosses] == [(bar, None) for bar in bars]
    assert absent(SYMBOLS[1], at(0)) == next(
        iter(Indicators().on(NoBar(symbol=SYMBOLS[1], ts_close=at(0))))
    )


def test_window_that_retention_has_cut_is_refused(tmp_path):
    part = SqliteSink(tmp_path / "run.sqlite", live=True).build_part("store", "0", None)
    bars = walk(SYMBOLS[0], 30)
    part.write_batch(bars)
    late = [msgspec.structs.replace(bar, ts_close=bar.ts_close + DAY) for bar in bars]
    part.write_batch(late)
    part.close()
    with closing(open_store(tmp_path / "run.sqlite", readonly=True)) as opened:
        last = late[-1].ts_close
        with pytest.raises(ExplanationError, match="no longer holds the bars of BTCUSDT"):
            list(_crosses(opened, SETTINGS, None, last - SECOND, last))
