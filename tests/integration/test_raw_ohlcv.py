"""What the stages make of the shipped recording, against the raw file itself.

The expected side uses none of our code: gzip, json and arithmetic.
"""

import gzip
import json
from collections import Counter, defaultdict
from functools import cache
from math import fsum

import pytest

from operators.bars import Bars, BarSettings
from operators.clocks import Clocks, ClockSettings
from operators.messages import Bar, BarQuality, Quote, Raw, Reason, Rejection, Tally, Tick
from operators.normalise import normalise
from operators.quality import Quality
from operators.quality_memory import QualityLimits
from tests.support import RECORDING

SECOND = 1_000_000_000
RECORDER_BEHIND = 1_270_000_000
SYMBOLS = ("BTCUSDT", "ETHUSDT")


@cache
def lines():
    with gzip.open(RECORDING) as file:
        return tuple(line.rstrip(b"\n") for line in file)


@cache
def expected():
    """Return {(symbol, second): trades as (time, id, price, size)} from the raw file."""
    trades = defaultdict(list)
    for line in lines():
        data = json.loads(line.partition(b" ")[2])["data"]
        if data.get("e") == "trade":
            trade = (data["T"], data["t"], float(data["p"]), float(data["q"]))
            trades[data["s"], data["T"] // 1000].append(trade)
    return {key: sorted(rows) for key, rows in trades.items()}


def raws(rows):
    for offset, row in enumerate(rows):
        received, _, payload = row.partition(b" ")
        yield Raw(offset=offset, path="r", kind="binance", ts_init=int(received), payload=payload)


def run(rows):
    """Push recorded lines through the stages of rows, without Bytewax."""
    clocks = Clocks(ClockSettings(receive_offset_ns=RECORDER_BEHIND), SYMBOLS)
    limits = QualityLimits(receive_offset_ns=RECORDER_BEHIND)
    quality = {symbol: Quality(limits) for symbol in SYMBOLS}
    bars = {symbol: Bars(BarSettings()) for symbol in SYMBOLS}
    out = []
    for message in normalise(raws(rows), RECORDER_BEHIND):
        for symbol, routed in clocks.on(message):
            if symbol in quality:
                for checked in quality[symbol].on(routed):
                    out.extend(bars[symbol].on(checked))
            else:
                out.append(routed)
    out.extend(tally for stage in bars.values() for tally in stage.on_end())
    out.extend(tally for _, tally in clocks.on_end())
    return out


@cache
def made():
    return tuple(run(lines()))


def bars_of(out):
    return [message for message in out if isinstance(message, Bar)]


def test_observed_bars_are_those_of_the_raw_file():
    observed = [b for b in bars_of(made()) if b.quality is BarQuality.OBSERVED]

    assert len(observed) > 1200
    for bar in observed:
        trades = expected()[bar.symbol, (bar.ts_close - SECOND) // SECOND]
        prices = [price for _, _, price, _ in trades]
        assert (bar.open, bar.close) == (prices[0], prices[-1])
        assert (bar.high, bar.low) == (max(prices), min(prices))
        assert bar.trades == len(trades)
        assert bar.volume == fsum(size for *_, size in trades)
        turnover = fsum(price * size for _, _, price, size in trades)
        assert bar.vwap == pytest.approx(turnover / bar.volume, rel=1e-12)


def test_every_second_that_traded_is_observed_and_every_other_is_quiet():
    kinds = {(b.symbol, b.ts_close // SECOND - 1): b.quality for b in bars_of(made())}
    last = max(second for _, second in kinds)
    traded = {key for key in expected() if key[1] <= last}

    assert {key for key, kind in kinds.items() if kind is BarQuality.OBSERVED} == traded
    assert set(kinds.values()) == {BarQuality.OBSERVED, BarQuality.QUIET}
    for symbol in SYMBOLS:
        seconds = sorted(second for name, second in kinds if name == symbol)
        assert seconds == list(range(seconds[0], seconds[-1] + 1))


def test_quiet_bars_carry_the_last_trade():
    for bar in bars_of(made()):
        if bar.quality is BarQuality.QUIET:
            second = bar.ts_close // SECOND - 1
            while (bar.symbol, second) not in expected():
                second -= 1
            assert bar.close == expected()[bar.symbol, second][-1][2]


def test_every_message_is_accounted_for():
    out = made()
    tallies = {(t.key, t.name): t.count for t in out if isinstance(t, Tally)}
    used = sum(b.trades + b.quotes for b in bars_of(out))
    open_ = sum(n for (_, name), n in tallies.items() if name in {"open_trades", "open_quotes"})
    rejected = Counter(m.reason for m in out if isinstance(m, Rejection))

    assert used + open_ + rejected.total() == len(lines())
    assert rejected[Reason.LATE] < 0.001 * len(lines())
    assert not rejected


def test_rubbish_costs_only_itself():
    rows = lines()[:20_000]
    clean = bars_of(run(rows))
    _, _, payload = rows[5000].partition(b" ")
    trade = json.loads(next(row for row in rows[5000:] if b'"trade"' in row).partition(b" ")[2])
    data = trade["data"]

    def with_fields(**fields):
        return json.dumps(trade | {"data": data | fields}, separators=(",", ":")).encode()

    rubbish = [
        b"",
        b"\x00\xff\x80",
        payload[:-7],
        b"{}",
        with_fields(p="-1"),
        with_fields(p="0"),
        with_fields(p="nan"),
        with_fields(p="1e308"),
        with_fields(p="999999999", t=data["t"] + 90_000),
        with_fields(p=3),
        with_fields(s="NOSUCH"),
        with_fields(t=10**15),
        with_fields(T=data["T"] - 3_600_000, t=data["t"] + 90_001),
        with_fields(T=9_223_372_036_854),
        with_fields(T=data["T"] + 60_000, t=data["t"] + 90_002),
    ]
    duplicates = [row for row in rows[4000:9000:50] if b'"trade"' in row]
    spoiled = list(rows)
    for place, line in enumerate(rubbish):
        spoiled.insert(6000 + 700 * place, received_at(rows[6000 + 700 * place]) + line)
    for place, line in enumerate(duplicates):
        at = 9500 + 100 * place
        spoiled.insert(at, received_at(spoiled[at]) + line.partition(b" ")[2])
    out = run(spoiled)

    assert bars_of(out) == clean
    refused = [m for m in out if isinstance(m, Rejection)]
    assert len(refused) == len(rubbish) + len(duplicates)
    assert not any(isinstance(m, Tick | Quote) for m in out)


def received_at(row):
    return row.partition(b" ")[0] + b" "


@pytest.mark.parametrize("cut", [3_000, 9_999, 17_777])
def test_cutting_the_recording_changes_no_earlier_bar(cut):
    whole = bars_of(run(lines()[:20_000]))
    part = bars_of(run(lines()[:cut]))

    assert part
    for symbol in SYMBOLS:
        before = [b for b in whole if b.symbol == symbol]
        after = [b for b in part if b.symbol == symbol]
        assert before[: len(after)] == after
