"""Live feeds become one log: in order, journaled, resumed, and drained when told to stop."""

import asyncio
import threading

import msgspec
import pytest

from connectors.feeds import FeedHealth, Inbox, InboxSettings
from connectors.journal import read_journal, segments
from connectors.live import LiveSettings, LiveSource, open_live_log
from connectors.selector import Selector, SelectorSettings
from connectors.sequencer import SequencerSettings
from operators.errors import InputError
from operators.messages import SECOND, Clock

START = 1_723_161_254 * SECOND


class Wall:
    def __init__(self):
        self.now = START + SECOND // 2

    def __call__(self):
        return self.now


class Scripted:
    """A feed that delivers what it is told, then waits to be cancelled."""

    def __init__(self, name, payloads, fails=0):
        self.name = name
        self.symbols = ("BTCUSDT",)
        self.health = FeedHealth(name)
        self.payloads = payloads
        self.fails = fails
        self.remembered = []
        self.delivered = threading.Event()
        self.cancelled = False

    def remember(self, raw):
        self.remembered.append(raw.payload)

    async def run(self, inbox):
        if self.fails:
            self.fails -= 1
            raise RuntimeError("canary-secret")
        for payload in self.payloads:
            inbox.put(self.name, "binance", payload, symbol="BTCUSDT")
        self.payloads = []
        self.delivered.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled = True


def opened(feeds, folder, wall, resume=0, **settings):
    return open_live_log(
        feeds,
        folder,
        Selector({}, {feed.name: feed.health for feed in feeds}, SelectorSettings()),
        msgspec.convert(settings, LiveSettings),
        SequencerSettings(),
        lambda _: wall,
        resume=resume,
    )


def next_batch(part):
    try:
        return part.next_batch()
    except StopIteration:
        return None


def run(feeds, folder, wall, resume=0):
    """Start, wait until all is delivered, stop, and return everything handed on."""
    stop = threading.Event()
    source = LiveSource(lambda at: opened(feeds, folder, wall, at), stop)
    part = source.build_part("log", "0", resume)
    handed = part.next_batch()  # which starts the feeds
    for feed in feeds:
        assert feed.delivered.wait(20)
    stop.set()
    while (batch := next_batch(part)) is not None:
        handed += batch
    state = part.snapshot()
    part.close()
    return handed, state


def test_what_waits_when_told_to_stop_is_handed_on(tmp_path):
    feed = Scripted("binance", [b"%d" % n for n in range(2500)])

    handed, state = run([feed], tmp_path, Wall())

    assert [raw.payload for raw in handed] == [b"%d" % n for n in range(2500)]
    assert list(read_journal(tmp_path)) == handed
    assert state == 2500
    assert feed.cancelled


def test_restart_goes_on_where_the_flow_stood(tmp_path):
    wall = Wall()
    first, _ = run([Scripted("binance", [b"1", b"2", b"3"])], tmp_path, wall)
    wall.now += SECOND
    feed = Scripted("binance", [b"4"])
    again, state = run([feed], tmp_path, wall, resume=1)

    assert again[:2] == first[1:]  # the flow had not seen these
    assert [raw.payload for raw in again if raw.kind == "binance"] == [b"2", b"3", b"4"]
    assert [raw.offset for raw in again] == list(range(1, state))
    assert feed.remembered == [b"1", b"2", b"3"]
    assert list(read_journal(tmp_path)) == [*first, *again[2:]]


def test_feed_whose_code_fails_is_begun_again_and_its_words_are_not_logged(tmp_path, capsys):
    broken = Scripted("binance", [b"1"], fails=1)
    well = Scripted("rss", [b"2"])

    handed, _ = run([broken, well], tmp_path, Wall())

    assert sorted(raw.payload for raw in handed) == [b"1", b"2"]
    assert broken.health.counts["failed"] == 1
    written = capsys.readouterr()
    assert "feed_failed" in written.out
    assert "canary" not in written.out + written.err


def test_reader_that_was_held_up_writes_clocks_between_messages(tmp_path):
    wall = Wall()
    log, _ = opened([], tmp_path, wall)
    for at in (0.6, 1.4, 2.6):
        wall.now = START + int(at * SECOND)
        log.inbox.put("binance", "binance", b"{}")
    wall.now = START + 5 * SECOND  # the dataflow stood still until now

    kinds = [raw.kind for raw in log.take()]

    assert kinds == ["binance", "clock", "binance", "clock", "binance", "clock", "clock"]
    log.close()


def test_full_inbox_sheds_quotes_first_and_counts_what_it_shed():
    inbox = Inbox(InboxSettings(max_messages=10, spare=0.5), lambda: 1)
    quotes = [inbox.put("binance", "binance", b"q", replaceable=True) for _ in range(7)]
    trades = [inbox.put("binance", "binance", b"t") for _ in range(7)]

    assert quotes == [True] * 5 + [False] * 2
    assert trades == [True] * 5 + [False] * 2
    assert inbox.shed == {("binance", "binance"): 4}
    assert len(inbox.take(100)) == 10
    assert inbox.put("binance", "binance", b"t")


def test_inbox_is_bounded_in_bytes_too():
    inbox = Inbox(InboxSettings(max_bytes=100, spare=1.0), lambda: 1)

    assert [inbox.put("yahoo", "yahoo", bytes(40)) for _ in range(3)] == [True, True, False]
    assert inbox.waiting_bytes == 80
    inbox.take(1)
    assert inbox.waiting_bytes == 40


def test_clock_of_the_run_is_told_the_last_clock_of_the_journal(tmp_path):
    wall = Wall()
    log, _ = opened([], tmp_path, wall)
    wall.now = START + 3 * SECOND + SECOND // 2
    clocks = [msgspec.json.decode(raw.payload, type=Clock).ts_event for raw in log.take()]
    log.close()
    told = []

    def make_clock(last):
        told.append(last)
        return wall

    again, _ = open_live_log(
        [], tmp_path, Selector({}, {}, SelectorSettings()), LiveSettings(), SequencerSettings(),
        make_clock,
    )  # fmt: skip
    again.close()

    assert told == [clocks[-1]] == [START + 3 * SECOND]


def test_long_rest_of_the_journal_is_handed_on_whole(tmp_path):
    first, _ = run([Scripted("binance", [b"%d" % n for n in range(5000)])], tmp_path, Wall())
    again, _ = run([Scripted("binance", [])], tmp_path, Wall())

    assert again == first  # more than one batch of it


def tell_clock(folder, wall):
    log, _ = opened([], folder, wall, resume=1000)
    wall.now += SECOND
    assert [raw.kind for raw in log.take()] == ["clock"]
    log.close()


def test_feed_learns_what_came_before_several_starts(tmp_path):
    wall = Wall()
    run([Scripted("binance", [b"1"])], tmp_path, wall)
    tell_clock(tmp_path, wall)
    for _ in range(3):  # a loop of crashes leaves segments that hold next to nothing
        wall.now += SECOND
        run([Scripted("other", [b"x"])], tmp_path, wall)
    feed = Scripted("binance", [])
    run([feed], tmp_path, wall)

    assert b"1" in feed.remembered
    assert b"ts_event" in feed.remembered[-1]  # the last Clock: until then we ran


def test_log_that_ends_in_the_future_is_refused(tmp_path):
    wall = Wall()
    log, _ = opened([], tmp_path, wall)
    wall.now += 3600 * SECOND
    log.take()
    log.close()
    wall.now -= 3600 * SECOND

    with pytest.raises(InputError, match=r"ends 3\d{3} s ahead of the clock"):
        opened([], tmp_path, wall)


def test_journal_is_kept_as_long_as_the_flow_or_its_bounds_need_it(tmp_path):
    wall = Wall()
    log, _ = opened([], tmp_path, wall, segment_bytes=2000, keep_bytes=5000)
    for n in range(100):
        log.inbox.put("binance", "binance", b"%0100d" % n)
        log.take()
    before = len(segments(tmp_path))
    log.settled(0)
    assert len(segments(tmp_path)) == before > 5
    log.settled(50)
    kept = [raw.offset for raw in read_journal(tmp_path)]
    assert kept[-1] == 99
    assert 0 < kept[0] <= 50
    log.settled(100)
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= 5000 + 2000
    log.close()


def test_clocks_of_the_time_we_were_down_say_cut(tmp_path):
    wall = Wall()
    tell_clock(tmp_path, wall)
    wall.now += 5 * SECOND
    log, _ = opened([Scripted("binance", [])], tmp_path, wall, resume=1000)
    again = [msgspec.json.decode(r.payload, type=Clock) for r in log.take() if r.kind == "clock"]
    wall.now += SECOND
    log.inbox.put("binance", "binance", b"2", symbol="BTCUSDT")
    log.take()
    wall.now += SECOND
    later = [msgspec.json.decode(r.payload, type=Clock) for r in log.take() if r.kind == "clock"]
    log.close()

    assert {clock.feeds for clock in again} == {(("binance", "cut"),)}
    assert later[-1].feeds == (("binance", "up"),)
