"""The engine live against a venue that fails: nothing is lost, and nothing is counted twice.

It is killed outright in the middle, and begun again.

Shortened and at a multiple of real speed; `make acceptance` runs it at full length.
"""

import pytest

from tests.drill import drill, silent_signals


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drill")
    found = drill(folder, symbols=6, seconds=300, seed=4, quiet_end=50, speed=6.0, kill_at=(20,))
    found.folder = folder
    return found


def test_every_trade_is_in_one_bar_once(found):
    accounts = found.accounts
    assert accounts.trades > 10_000
    assert accounts.in_bars == accounts.trades
    assert accounts.wrong == []
    assert accounts.missing == 0


def test_every_hole_is_filled_while_the_venue_answers(found):
    assert len(found.faults) >= 8
    assert found.holes
    assert {hole["state"] for hole in found.holes} == {"filled"}
    assert "gap" not in found.accounts.qualities
    assert found.summary["unaccounted"] == 0


def test_the_client_breaks_no_rule_of_the_venue(found):
    assert found.breaches == {}


def test_signals_decided_in_an_outage_say_so(found):
    assert silent_signals(found.folder / "live.sqlite", found) == []


def test_recording_replays_to_the_digest_of_the_run_that_made_it(found):
    assert found.summary["signals"]
    assert found.replayed == found.live
