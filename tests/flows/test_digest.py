import math

import msgspec
import pytest

from connectors.sinks.store import open_store
from flows.digest import count_signals, digest
from operators.messages import SECOND, Action
from tests.stores import TS, decision, outcome, rejection, signal, store_messages, stored_bar

BASE = signal()


def digest_of(path, *messages):
    store = open_store(store_messages(path, *messages))
    made = digest(store)
    store.close()
    return made


def test_digest_does_not_depend_on_the_order_of_writing(tmp_path):
    signals = [
        decision(signal(symbol, ts_close=TS + n * SECOND), ts_close=TS + n * SECOND)
        for n in range(3)
        for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    forth = digest_of(tmp_path / "forth.sqlite", *signals)
    back = digest_of(tmp_path / "back.sqlite", *reversed(signals))

    assert forth == back
    assert len(forth) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"signal_id": "other"},
        {"symbol": "ETHUSDT"},
        {"ts_close": TS + 1},
        {"interval": 2},
        {"action": Action.SELL},
        {"score": math.nextafter(BASE.score, 1.0)},
        {"confidence": math.nextafter(BASE.confidence, 1.0)},
        {"target_position": math.nextafter(BASE.target_position, 1.0)},
        {"approved": False},
        {"price": math.nextafter(BASE.price, 0.0)},
        {"reasons": ("score",)},
        {"detail": {**BASE.detail, "more": 1}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_any_field_of_any_signal_changes_the_digest(tmp_path, change):
    other = msgspec.structs.replace(BASE, **change)
    assert digest_of(tmp_path / "base.sqlite", decision(BASE)) != digest_of(
        tmp_path / "other.sqlite", decision(other)
    )


def test_key_order_of_the_detail_does_not_matter(tmp_path):
    turned = msgspec.structs.replace(BASE, detail=dict(reversed(BASE.detail.items())))
    assert digest_of(tmp_path / "base.sqlite", decision(BASE)) == digest_of(
        tmp_path / "turned.sqlite", decision(turned)
    )


def test_only_signals_count(tmp_path):
    alone = digest_of(tmp_path / "alone.sqlite", decision(BASE))
    path = tmp_path / "more.sqlite"
    among = digest_of(path, decision(BASE, costs=5.0), stored_bar(), rejection(), outcome(BASE))
    store = open_store(path, readonly=True)

    assert alone == among
    assert count_signals(store) == 1
    store.close()
