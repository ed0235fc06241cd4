"""The inlet: orders on their way into a run, and each one's place in a replay's log."""

import asyncio
import sqlite3
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.feeds import Inbox, InboxSettings
from connectors.inlet import Inlet, inlet_folder
from connectors.inlet_feed import InletFeed
from connectors.sources.interjections import Interjections
from connectors.sources.replay import ReplayInputs, ReplaySource
from operators.errors import StoreError
from operators.messages import SECOND, Control, Raw

START = 1_723_161_254 * SECOND


def ordered(number=1, **fields):
    return Control(
        **{"kind": "stop", "actor": "ann", "reason": "r", "ts_event": number, "id": f"o{number}"}
        | fields
    )


def kept(raws):
    """Return what of entries must repeat."""
    return [(raw.offset, raw.kind, raw.ts_init, raw.payload) for raw in raws]


@pytest.fixture
def inlet(tmp_path):
    with Inlet(tmp_path / "run.control") as opened:
        yield opened


def test_order_is_taken_once(inlet):
    inlet.post(ordered())
    [order] = inlet.fresh()
    assert msgspec.json.decode(order.payload, type=Control) == ordered()
    inlet.take([order.number], 7)
    assert inlet.fresh() == []
    assert [each.log_offset for each in inlet.placed()] == [7]


def test_order_of_another_connection_is_seen_at_once(inlet, tmp_path):
    with Inlet(tmp_path / "run.control") as other:
        other.post(ordered())
    assert len(inlet.fresh()) == 1


def test_order_of_a_name_that_is_there_is_refused(inlet):
    inlet.post(ordered())
    with pytest.raises(StoreError, match="could not be written"):
        inlet.post(ordered(reason="another"))
    assert len(inlet.all()) == 1


def test_new_run_knows_no_orders_of_the_one_before(inlet):
    inlet.post(ordered())
    inlet.beat("run", {"running": True})
    inlet.clear()
    assert inlet.all() == []
    assert inlet.pulse("run") is None


def test_pulse_is_the_last_one(inlet):
    inlet.beat("run", {"n": 1})
    inlet.beat("run", {"n": 2})
    assert inlet.pulse("run").body == {"n": 2}


def test_file_of_another_program_is_refused(tmp_path):
    folder = inlet_folder(tmp_path / "run.sqlite")
    folder.mkdir()
    strange = sqlite3.connect(folder / "orders.sqlite3")
    strange.execute("PRAGMA application_id = 7")
    strange.close()
    with pytest.raises(StoreError, match="another program"):
        Inlet(folder)


# ------------------------------------------------------------------------ a live run


async def delivered(feed, inbox, count):
    """Run a feed until it has delivered so much."""
    task = asyncio.create_task(feed.run(inbox))
    try:
        async with asyncio.timeout(20):
            while len(inbox) < count:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)  # what should not come has had its time
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    return [received.payload for received in inbox.take(100)]


def test_feed_delivers_each_order_once_and_leaves_out_nonsense(inlet, tmp_path):
    inlet.post(ordered(1))
    inlet.post(ordered(2, kind="sell"))
    inlet.post(ordered(3, kind="mute", symbol="A"))
    feed = InletFeed(tmp_path / "run.control")

    got = asyncio.run(delivered(feed, Inbox(InboxSettings(), lambda: 5), 2))

    kinds = [msgspec.json.decode(payload, type=Control).kind for payload in got]
    assert kinds == ["stop", "mute"]
    assert feed.health.counts["unreadable"] == 1


def test_feed_after_a_crash_leaves_out_what_the_journal_holds(inlet, tmp_path):
    inlet.post(ordered(1))
    inlet.post(ordered(2, kind="resume"))
    feed = InletFeed(tmp_path / "run.control")
    payload = inlet.all()[0].payload
    feed.remember(Raw(offset=9, path="control", kind="control", ts_init=1, payload=payload))

    got = asyncio.run(delivered(feed, Inbox(InboxSettings(), lambda: 5), 1))

    assert got == [inlet.all()[1].payload]
    assert feed.health.counts["repeated"] == 1


def test_order_waits_for_room_in_a_full_inbox(inlet, tmp_path):
    inbox = Inbox(InboxSettings(max_messages=1), lambda: 5)
    inbox.put("venue", "binance", b"{}")
    inlet.post(ordered(1))
    feed = InletFeed(tmp_path / "run.control")

    async def run():
        task = asyncio.create_task(feed.run(inbox))
        async with asyncio.timeout(20):
            while not inbox.shed["control", "control"]:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
            [_] = inbox.take(1)
            while not len(inbox):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert inbox.take(10)[0].payload == inlet.all()[0].payload


# -------------------------------------------------------------------------- a replay


def log_of(source, resume, entries, *, posts=None):
    """Return at most `entries` entries from `resume` on; `posts` are given on the way."""
    part = source.build_part("log", "0", resume)
    if part.orders is not None:
        part.orders.clock = iter(range(10**9)).__next__  # each look is due
    found = []
    waiting = dict(posts or {})
    with suppress(StopIteration):
        while len(found) < entries:
            for at in [at for at in waiting if at <= len(found)]:
                source.inlet.post(waiting.pop(at))
            found += part.next_batch()
    return found


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_text("".join(f"{START + n * SECOND} {{}}\n" for n in range(2500)))
    return ReplayInputs([path])


def test_orders_stand_between_entries_and_move_those_behind_them(recording, inlet):
    posts = {0: ordered(1), 1500: ordered(2)}
    log = log_of(ReplaySource(recording, inlet=inlet), 0, 10**6, posts=posts)

    assert [raw.offset for raw in log] == list(range(2502))
    assert [raw.offset for raw in log if raw.kind == "control"] == [
        order.log_offset for order in inlet.placed()
    ]
    plain = log_of(ReplaySource(recording), 0, 10**6)
    assert [raw.payload for raw in log if raw.kind != "control"] == [raw.payload for raw in plain]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2503), st.lists(st.integers(0, 2400), max_size=4, unique=True))
def test_replay_resumed_anywhere_meets_the_same_log(tmp_path_factory, resume, at):
    folder = tmp_path_factory.mktemp("any")
    path = folder / "a.ndjson"
    path.write_text("".join(f"{START + n * SECOND} {{}}\n" for n in range(2500)))
    recording = ReplayInputs([path])
    with Inlet(folder / "control") as inlet:
        source = ReplaySource(recording, inlet=inlet)
        posts = {place: ordered(number) for number, place in enumerate(at)}
        whole = log_of(source, 0, 10**6, posts=posts)
        assert len(whole) == 2500 + len(at)
        again = log_of(source, resume, 10**6)
    assert kept(again) == kept(whole[resume:])


def test_nonsense_in_the_inlet_takes_no_place(inlet):
    inlet.post(ordered(1, kind="sell"))
    orders = Interjections(inlet, 0)
    assert orders.at(0) == []
    assert orders.shift == 0
    assert inlet.fresh() == []
