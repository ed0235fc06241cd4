"""A new run that begins with the bars of another decides at once, and replays alike."""

import pytest

from tests.drill import engine, nextgen, venue
from tests.integration.replays import digest, replay, rows

SPEED = 20.0
SYMBOLS = ("BTCUSDT", "ETHUSDT")


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Run until there are decisions, stop, and begin another run with its bars."""
    folder = tmp_path_factory.mktemp("warm")
    first, second, recorded = folder / "first.sqlite", folder / "second.sqlite", folder / "recorded"
    with venue("--speed", SPEED) as place:
        options = ("--symbols", ",".join(SYMBOLS), "--speed", SPEED)
        with engine(place, first, *options, "--seconds", 13) as run:
            assert run.wait(120) == 0
        with engine(
            place, second, *options, "--seconds", 4, "--warm", first, "--record", recorded
        ) as run:
            assert run.wait(120) == 0
    return first, second, recorded


def test_the_second_run_decides_from_its_first_bar_on(stores):
    first, second, _ = stores
    assert rows(first, "SELECT count(*) FROM signals")[0][0] > 0
    [(last,)] = rows(first, "SELECT max(ts_close) FROM bars")
    [(begun,)] = rows(second, "SELECT min(ts_close) FROM signals")
    [(seen,)] = rows(second, f"SELECT min(ts_close) FROM bars WHERE ts_close > {last}")
    assert begun <= seen


def test_its_recording_replays_to_its_digest(stores, tmp_path):
    _, second, recorded = stores
    again = tmp_path / "again.sqlite"
    replay(again, recorded, "--symbols", ",".join(SYMBOLS), profile="binance")
    assert digest(again) == digest(second)


def test_explain_decides_its_signals_again(stores):
    _, second, _ = stores
    [(signal,)] = rows(second, "SELECT signal_id FROM signals ORDER BY ts_close DESC LIMIT 1")
    nextgen("explain", second, signal)
