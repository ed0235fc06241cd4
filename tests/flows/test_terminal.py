import re
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from flows.board import Board, ViewSink
from flows.reports import print_summary
from flows.terminal import View, leg, price
from operators import metrics
from operators.messages import (
    SECOND,
    Action,
    CrossSection,
    Decision,
    Fused,
    Gap,
    Headline,
    Hole,
    HoleState,
    Leg,
    Mood,
    Notice,
    Reason,
    ScoredHeadline,
)
from tests.stores import TS, outcome, portfolio, rejection, signal, stored_bar


def decided(*signals, abstains=False, ts_close=TS, **of_portfolio):
    symbols = tuple(each.symbol for each in signals)
    size = len(symbols)
    cross = CrossSection(
        shard=0, ts_close=ts_close, interval=SECOND, symbols=symbols, bars=(None,) * size,
        features=np.zeros((size, 60, 1), np.float32), volatility=np.zeros(size),
        ready=np.ones(size, np.bool_),
    )  # fmt: skip
    legs = tuple(
        Leg(name=name, ts_close=ts_close, value=np.full(size, 0.25), certainty=np.ones(size),
            skill=0.5, abstains=np.full(size, abstains), detail={}, model="m@1")
        for name in ("forecast", "policy", "sentiment")
    )  # fmt: skip
    fused = Fused(
        cross=cross, legs=legs, weights=np.full((3, size), 1 / 3), score=np.zeros(size),
        confidence=np.zeros(size), disagreement=np.zeros(size),
    )  # fmt: skip
    return Decision(fused=fused, signals=signals, portfolio=portfolio(ts_close, **of_portfolio))


def headline(text, tone=0.5):
    inner = Headline(
        id=text, source="rss", lang="en", symbols=(), text=text, published_at=1, available_at=1
    )
    body = ScoredHeadline(
        headline=inner, negative=0.0, positive=tone, neutral=1 - tone, model="m@1"
    )
    return Notice(after=TS, offset=1, body=body)


def shown(view, width=80, height=40):
    console = Console(width=width, height=height, record=True, file=StringIO())
    view.console = console
    console.print(view.render())
    return console.export_text()


@pytest.fixture(autouse=True)
def _no_timers():
    metrics.reset()
    yield
    metrics.reset()


def test_board_counts_what_flows_by():
    board = Board()
    board.update_all(
        [
            stored_bar(),
            decided(signal(), signal("ETHUSDT", action=Action.HOLD)),
            rejection(1, Reason.LATE),
            outcome(signal()),
            outcome(signal(), hit=None),
            Gap(symbol="BTCUSDT", venue="b", first_id=1, last_id=2, ts_from=TS, ts_to=TS),
            Notice(after=TS, offset=2, body=Mood(source="fg", value=26.0, available_at=1)),
            "unknown",
        ]
    )

    seen = board.seen
    assert (seen.bars, seen.market, seen.gaps, seen.judged, seen.hits) == (1, 5, 1, 1, 1)
    assert seen.actions == {"BUY": 1, "HOLD": 1}
    assert seen.rejected == {"late": 1}
    assert (seen.ready, seen.symbols, seen.mood, seen.ts_close) == (2, 2, 26.0, TS)


def test_last_headlines_are_kept():
    board = Board()
    board.update_all([headline(f"news {n}") for n in range(5)])
    assert [text for text, _ in board.seen.headlines] == ["news 2", "news 3", "news 4"]


def test_trading_symbols_come_first_then_the_strongest_scores():
    board = Board()
    hold = {"action": Action.HOLD, "target_position": 0.0}
    board.update(
        decided(signal("WEAK", score=0.1, **hold), signal("STRONG", score=-0.5, **hold),
                signal("TRADES", score=0.2))
    )  # fmt: skip
    assert [line.signal.symbol for line in board.order()] == ["TRADES", "STRONG", "WEAK"]


def test_view_fits_into_eighty_columns_and_shows_what_matters():
    board = Board(progress=lambda: 0.42)
    board.update_all(
        [
            stored_bar(),
            decided(
                signal("BTCUSD_PERP", score=-0.31, target_position=-0.1234, action=Action.SELL),
                signal("ETHUSDT", price=0.00012345),
                equity=998_765.43,
            ),
            headline("Bitcoin " + "soars " * 40),
            outcome(signal()),
        ]
    )
    metrics.timer("cross_section").add(1_500_000)
    text = shown(View(board, Console(), "nextgen demo"))

    assert max(len(line) for line in text.splitlines()) <= 80
    for words in ("2024-08-09 00:00:00Z", "42%", "BTCUSD_PERP", "-12.3%", "SELL", "0.000123",
                  "+0.25", "hit rate 100.0% of 1", "998,765.43", "cross_section"):  # fmt: skip
        assert words in text


def test_abstaining_leg_is_a_dot():
    board = Board()
    board.update(decided(signal(), abstains=True))
    assert shown(View(board, Console(), "t")).count("·") == 3


def test_many_symbols_leave_room_on_a_low_screen():
    board = Board()
    board.update(decided(*(signal(f"S{n:03}") for n in range(300))))
    text = shown(View(board, Console(), "t"), height=24)

    assert len(text.splitlines()) <= 24
    assert "and 293 more" in text


def test_text_from_outside_steers_neither_terminal_nor_markup():
    board = Board()
    board.update_all([decided(signal("[/red]")), headline("\x1b[2J[/bold] up")])
    text = shown(View(board, Console(), "t"))
    assert "[/red]" in text
    assert "[2J[/bold] up" in text
    assert "\x1b" not in text

    hostile = {**SUMMARY, "ignored": {"[/x]\x1b": 1}}
    console = Console(width=80, record=True, file=StringIO())
    print_summary(hostile, console)
    assert "1 [/x] " in console.export_text()


def test_empty_board_can_be_shown():
    assert "warming up: 0 of 187 bars" in shown(View(Board(), Console(), "t"))


def test_without_a_terminal_a_status_line_is_printed(monkeypatch, tmp_path):
    monkeypatch.setattr("flows.terminal.LINE_EVERY", 0.001)
    board = Board()
    board.update_all([decided(signal()), rejection()])
    with (tmp_path / "out").open("w+") as file:
        with View(board, Console(file=file, width=80), "t") as view:
            view._done.wait(0.1)
        file.seek(0)
        line = file.readline()
    assert line.startswith("2024-08-09 00:00:00Z | ")
    assert "1 BUY | 1 rejected" in line
    assert "\x1b" not in line


def test_live_view_starts_and_clears_itself(tmp_path):
    with (tmp_path / "out").open("w+") as file:
        console = Console(file=file, width=80, height=30, force_terminal=True,
                          _environ={"TERM": "xterm"})  # fmt: skip
        with View(Board(), console, "nextgen demo"):
            pass
        file.seek(0)
        drawn = file.read()
    assert "nextgen demo" in drawn
    assert re.search(r"\x1b\[\?25h", drawn)  # the cursor is back


def test_view_sink_feeds_the_board():
    board = Board()
    part = ViewSink(board).build_part("view", "0", None)
    part.write_batch([stored_bar()])
    assert part.snapshot() is None
    assert board.seen.bars == 1


def test_pace_is_event_time_over_wall_time(monkeypatch):
    clock = iter([0.0, 0.0, 1.0, 2.0])
    monkeypatch.setattr("flows.board.time.monotonic", lambda: next(clock))
    board = Board()
    board.update(decided(signal(), ts_close=TS))
    assert board.pace() is None
    board.update(decided(signal(ts_close=TS + 20 * SECOND), ts_close=TS + 20 * SECOND))
    assert board.pace() == pytest.approx(20.0)
    assert board.pace() == pytest.approx(10.0)


def test_numbers_read_well():
    assert price(60_714.184) == "60,714.18"
    assert leg(-0.001).plain == "+0.00"
    assert leg(None).plain == "·"


SUMMARY = {
    "unaccounted": 0,
    "ticks_in": 166_351, "accepted": 166_300, "late": 12, "gaps": 0, "headlines": 1,
    "rejected": {"duplicate": 39}, "ignored": {"depthUpdate": 1200},
    "bars": {"observed": 1200, "quiet": 3}, "signals": {"BUY": 10, "HOLD": 880}, "approved": 10,
    "held_by": {"score": 600, "confidence": 280},
    "effective_weights": {"forecast": 0.41, "policy": 0.4, "sentiment": 0.19},
    "hit_rate": {"value": 0.512, "n": 430, "interval": [0.46, 0.56]},
    "pnl": {"return": -0.001, "buy_and_hold": 0.0002, "costs": 0.0009, "trades": 12,
            "max_drawdown": 0.002},
    "var": {"max_var_95": 0.001, "max_var_99": 0.002, "kupiec": {"95%": {
        "observations": 20, "exceptions": 1, "expected": 1.0, "p_value": 1.0}}},
    "finished": True, "seconds": 61.25,
    "stages": {name: {"p50_ms": 0.01, "p99_ms": 1.5} for name in ("bars", "risk", "fusion")},
}  # fmt: skip


@pytest.mark.parametrize("width", [60, 80, 120])
def test_summary_fits_and_says_everything(width):
    console = Console(width=width, record=True, file=StringIO())
    print_summary(SUMMARY, console)
    text = console.export_text()

    assert max(len(line) for line in text.splitlines()) <= width
    flat = " ".join(text.split())
    for words in ("166,351", "39 duplicate", "12 (0.007%)", "1,200 observed, 3 quiet", "10 BUY",
                  "600 score, 280", "forecast 0.41", "51.2%", "+0.020%", "61.2 s",
                  "fusion"):  # fmt: skip
        assert words in flat


def test_open_holes_are_shown_until_they_are_filled():
    def hole(state, symbol="BTCUSDT"):
        return Hole(
            feed="binance",
            symbol=symbol,
            cause="cut",
            ts_from=1,
            ts_to=None if state is HoleState.OPEN else 2,
            state=state,
            found_at=2,
        )

    board = Board()
    view = View(board, Console(), "title")
    board.update_all([hole(HoleState.OPEN), hole(HoleState.OPEN, "ETHUSDT")])
    assert "2 open (binance cut)" in shown(view)

    board.update(hole(HoleState.ENDED))
    board.update_all([hole(HoleState.FILLED), hole(HoleState.UNFILLED, "ETHUSDT")])
    assert "holes: 1 filled, 1 not" in shown(view)
    assert "open" not in shown(view)
