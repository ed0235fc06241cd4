"""Every signal comes out again from what is stored, and a changed store is found out."""

import json
import shutil
import sqlite3

import pytest

from tests.integration import replays
from tests.integration.replays import MOOD, nextgen, replay, rows


@pytest.fixture(scope="module")
def told(short, tmp_path_factory):
    """Return a store whose run knew a headline, made before its first signals."""
    folder = tmp_path_factory.mktemp("told")
    news = folder / "news.jsonl"
    news.write_text(
        json.dumps(
            {
                "text": "Regulator approves Bitcoin fund",
                "symbols": ["BTC"],
                "available_at": 1_723_161_440_000_000_000,
            }
        )
    )
    store = folder / "run.sqlite"
    replay(store, short, MOOD, "--headlines", news)
    return store


def ids(store, count=4):
    """Return signal ids spread over a run."""
    found = [row[0] for row in rows(store, "SELECT signal_id FROM signals ORDER BY ts_close")]
    return found[:: max(len(found) // count, 1)]


def test_signals_are_decided_again_from_the_store(told):
    for signal_id in ids(told):
        explained = json.loads(nextgen("explain", told, signal_id, "--json"))
        assert explained["difference"] is None
        assert len(explained["features"]) == 44
        assert set(explained["signal"]["detail"]["legs"]) == {"forecast", "policy", "sentiment"}


def test_explanation_reads_as_text(told):
    text = nextgen("explain", told, ids(told)[1])
    for part in ("Features", "Legs", "Risk", "configuration", "recomputed: equal", "Regulator"):
        assert part in text


def spoiled(told, tmp_path, statement, *values):
    """Return a copy of the store after one statement."""
    store = tmp_path / "spoiled.sqlite"
    shutil.copy(told, store)
    with sqlite3.connect(store) as connection:
        assert connection.execute(statement, values).rowcount >= 1
    connection.close()
    return store


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE bars SET close = close * 1.0001, high = high * 1.001 WHERE ts_close = "
        "(SELECT max(ts_close) FROM signals)",
        "UPDATE signals SET score = score + 1e-9",
        "UPDATE signals SET target_position = target_position + 1e-9",
        "UPDATE signals SET detail = json_set(detail, '$.legs.forecast.value', 0.123)",
    ],
)
def test_changed_store_is_found_out(told, tmp_path, statement):
    store = spoiled(told, tmp_path, statement)
    last = rows(store, "SELECT signal_id FROM signals ORDER BY ts_close DESC LIMIT 1")[0][0]
    done = nextgen("explain", store, last, "--json", code=1)
    del done


def test_changed_headline_is_found_out(told, tmp_path):
    store = spoiled(
        told,
        tmp_path,
        "UPDATE notices SET body = replace(body, 'approves', 'rejects') WHERE kind = ?",
        "ScoredHeadline",
    )
    first = rows(
        store,
        "SELECT signal_id FROM signals WHERE ts_close > 1723161442000000000 ORDER BY ts_close",
    )[0][0]
    error = nextgen("explain", store, first, code=2)
    assert "does not score as the store says" in error


def test_unknown_signal_ends_with_one_sentence(told):
    error = nextgen("explain", told, "ffffffffffffffffffffffff", code=2)
    assert "no signal" in error
    assert error.count("\n") == 1


def test_store_of_nothing_ends_with_one_sentence(tmp_path):
    assert "expected a store" in nextgen("digest", tmp_path / "none.sqlite", code=2)


def test_short_recording_was_not_changed(short):
    assert short.read_bytes() == b"".join(replays.recorded(replays.SHORT))
