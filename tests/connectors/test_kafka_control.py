"""Orders through a real broker into a feed's inbox."""

import contextlib
import json

import jsonschema
import msgspec
import pytest

from connectors.feeds import Inbox, InboxSettings
from connectors.kafka import schemas
from connectors.kafka.admin import ensure_topics
from connectors.kafka.control import ControlFeed, order_entry
from connectors.kafka.send import send
from connectors.kafka.topics import CONTROL
from connectors.kafka.wire import Outgoing
from connectors.live import FeedThread
from operators.messages import Control
from tests.drill import until
from tests.servers.kafka import broker
from tests.support import raw

STOP = Control(kind="stop", actor="anna", reason="drill", ts_event=1)
RESUME = Control(kind="resume", actor="anna", reason="over", ts_event=2)


@pytest.fixture(scope="module")
def kafka():
    with broker() as started:
        yield started


@contextlib.contextmanager
def listening(settings, *remembered):
    """Run a feed that listens from the end of the topic on; give it and its inbox."""
    feed, inbox = ControlFeed(settings), Inbox(InboxSettings(), lambda: 5)
    for each in remembered:
        feed.remember(each)
    thread = FeedThread([feed], inbox)
    thread.start()
    try:
        # A client says "up" before it knows where the topic ends: until it hears a probe, what
        # is sent may count as older.
        while not feed.health.counts["unreadable"]:
            send(settings, None, [rubbish(b"probe")])
        yield feed, inbox
    finally:
        thread.stop()


def rubbish(value):
    return Outgoing(topic=CONTROL.name, type="control", value=value, partition=0)


def orders(inbox, count):
    """Wait for so many orders, and return all there are."""
    until(lambda: len(inbox) >= count)
    return [msgspec.json.decode(each.payload, type=Control) for each in inbox.take(100)]


@pytest.fixture
def settings(kafka):
    made = kafka.settings()
    ensure_topics(made)
    return made


def test_orders_come_in_order_and_rubbish_is_counted(settings):
    with listening(settings) as (feed, inbox):
        before = feed.health.counts["unreadable"]
        bad = [rubbish(value) for value in (b"", b"{", b"[]", b'{"kind":"sell"}')]
        sell = Control(kind="sell", actor="a", reason="r", ts_event=1)
        send(settings, None, [order_entry(STOP), *bad, order_entry(sell), order_entry(RESUME)])
        assert orders(inbox, 2) == [STOP, RESUME]
        assert feed.health.counts["unreadable"] - before >= 5


def test_an_order_that_the_journal_holds_is_not_given_again(settings):
    held = order_entry(STOP)
    entries = (
        raw(held.value, kind="control", path="control"),
        raw(order_entry(RESUME).value, kind="control", path="another feed"),
    )
    with listening(settings, *entries) as (feed, inbox):
        send(settings, None, [held, order_entry(RESUME)])
        assert orders(inbox, 1) == [RESUME]
        assert feed.health.counts["repeated"] == 1


def test_an_order_is_of_the_form_that_others_may_write():
    jsonschema.validate(json.loads(order_entry(STOP).value), schemas.load("control"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"kind": "sell", "actor": "a"}, schemas.load("control"))
