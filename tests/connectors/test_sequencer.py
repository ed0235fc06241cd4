"""The sequencer orders live input, makes time of it, and journals it first."""

import msgspec

from connectors.journal import Journal, read_journal
from connectors.sequencer import Sequencer, SequencerSettings
from connectors.sources.inputs import ReplayInputs, iterate, symbols_in
from operators.messages import SECOND, Clock, Hole, HoleState

START = 1_723_161_254 * SECOND
SETTINGS = SequencerSettings()


class Wall:
    """A wall clock that tests move; seconds after START."""

    def __init__(self):
        self.now = 0.5

    def __call__(self):
        return START + int(self.now * SECOND)


def sequencer(folder, wall, feeds=("binance",)):
    symbols = dict.fromkeys(feeds, ("BTCUSDT", "ETHUSDT"))
    return Sequencer(Journal(folder), SETTINGS, feeds=symbols, clock=wall)


def hole(live, symbol, state, feed="b"):
    found = Hole(
        feed=feed,
        symbol=symbol,
        cause="cut",
        ts_from=START,
        ts_to=None if state is HoleState.OPEN else START + 1,
        state=state,
        found_at=START,
    )
    live.offer(feed, "hole", msgspec.json.encode(found))


def at(seconds, wall, live):
    wall.now = seconds
    live.advance()


def clocks(raws):
    found = [msgspec.json.decode(raw.payload, type=Clock) for raw in raws if raw.kind == "clock"]
    return [((clock.ts_event - START) / SECOND, dict(clock.feeds)) for clock in found]


def times(raws):
    return [seconds for seconds, _ in clocks(raws)]


def test_clock_follows_its_boundary_by_the_lateness(tmp_path):
    wall = Wall()
    live = sequencer(tmp_path, wall)

    at(1.2, wall, live)
    assert live.take() == []
    at(1.25, wall, live)
    assert times(live.take()) == [1.0]
    at(3.3, wall, live)
    assert times(live.take()) == [2.0, 3.0]


def test_clock_carries_the_state_of_each_feed(tmp_path):
    wall = Wall()
    live = sequencer(tmp_path, wall, feeds=("a", "b", "c"))
    live.offer("a", "binance", b"{}")
    live.offer("b", "binance", b"{}")
    hole(live, "BTCUSDT", HoleState.OPEN)
    at(1.25, wall, live)
    hole(live, "ETHUSDT", HoleState.OPEN)
    at(2.25, wall, live)
    hole(live, "BTCUSDT", HoleState.ENDED)
    live.offer("b", "binance", b"{}")
    at(6.25, wall, live)

    states = clocks(live.take())

    assert states[0] == (1.0, {"a": "up", "b": "up", "c": "quiet"})  # one symbol only
    assert states[1] == (2.0, {"a": "up", "b": "cut", "c": "quiet"})
    assert states[-1] == (6.0, {"a": "quiet", "b": "up", "c": "quiet"})


def test_held_up_reader_writes_the_log_of_one_who_was_not(tmp_path):
    received = [int(seconds * SECOND) + START for seconds in (0.6, 1.1, 1.4, 2.3, 3.9)]
    prompt_wall, late_wall = Wall(), Wall()
    prompt = sequencer(tmp_path / "prompt", prompt_wall)
    late = sequencer(tmp_path / "late", late_wall)

    for moment in received:
        prompt_wall.now = (moment - START) / SECOND
        prompt.offer("binance", "binance", b"%d" % moment)
    late_wall.now = 3.9
    for moment in received:
        late.offer("binance", "binance", b"%d" % moment, moment)

    found = [[(raw.kind, raw.ts_init, raw.payload) for raw in s.take()] for s in (prompt, late)]
    assert found[0] == found[1]
    assert [kind for kind, _, _ in found[0]].count("clock") == 3


def test_wall_clock_set_back_repeats_no_clock(tmp_path):
    wall = Wall()
    live = sequencer(tmp_path, wall)
    for seconds in (1.3, 2.3, 0.1, 1.3, 2.9, 3.3):
        at(seconds, wall, live)

    assert times(live.take()) == [1.0, 2.0, 3.0]


def test_long_leap_is_not_filled_second_by_second(tmp_path):
    wall = Wall()
    live = sequencer(tmp_path, wall)
    at(60.3, wall, live)
    assert len(live.take()) == 60
    at(7200.3, wall, live)

    assert times(live.take()) == [61.0, 7200.0]


def test_dead_feed_does_not_freeze_time(tmp_path):
    wall = Wall()
    live = sequencer(tmp_path, wall)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        hole(live, symbol, HoleState.OPEN, "binance")
    at(3.3, wall, live)

    assert clocks(live.take())[-1] == (3.0, {"binance": "cut"})


def test_journal_holds_an_entry_before_it_is_handed_on(tmp_path):
    wall = Wall()
    live = sequencer(tmp_path, wall)
    live.offer("binance", "binance", b"{}")

    taken = live.take()

    assert list(read_journal(tmp_path)) == taken
    assert len(taken) == 1


def test_replaying_the_journal_gives_the_same_log(tmp_path):
    wall = Wall()
    live = sequencer(tmp_path, wall, feeds=("binance", "rss"))
    handed = []
    for step in range(200):
        wall.now = 1 + step / 10 if step != 77 else 2.0  # the wall clock steps back once
        live.offer("binance", "binance", b'{"n":%d}' % step)
        if step % 50 == 0:
            live.offer("rss", "headline", b'{"text":"up"}', wall() - SECOND)
        if step == 120:
            hole(live, "BTCUSDT", HoleState.OPEN, "binance")
            live.offer("desk", "control", b'{"kind":"stop"}')
        live.advance()
        handed += live.take()
    live.journal.close()

    assert list(iterate(ReplayInputs([tmp_path]))) == handed
    assert {raw.kind for raw in handed} == {"binance", "headline", "control", "clock", "hole"}


def test_restart_goes_on_behind_the_last_offset_and_clock(tmp_path):
    wall = Wall()
    live = sequencer(tmp_path, wall)
    at(5.3, wall, live)
    before = live.take()
    live.journal.close()
    wall.now = 4.0  # the wall clock was set back meanwhile
    live = sequencer(tmp_path, wall)
    at(4.5, wall, live)
    at(6.3, wall, live)

    after = live.take()

    assert times(before + after) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert [raw.offset for raw in before + after] == list(range(6))
    live.journal.close()


def test_symbols_are_found_in_a_journal(tmp_path):
    live = sequencer(tmp_path, Wall())
    live.offer("binance", "binance", b'{"e":"trade","s":"BTCUSDT"}')
    live.offer("files", "bar", b'{"symbol":"SPY","interval":1}')
    live.offer("files", "bar", b'{"symbol":')
    live.take()

    assert symbols_in(ReplayInputs([tmp_path])) == ("BTCUSDT", "SPY")
    live.journal.close()
