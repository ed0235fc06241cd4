"""Nothing that comes later changes what was decided: the input is cut, the past stays."""

import random

import pytest

from connectors.sources.replay import ReplayInputs, iterate
from flows.models import load_models
from flows.settings import load_profile
from operators.messages import Clock, Decision
from tests.chain import Chain
from tests.integration.replays import MOOD
from tests.support import EQKER, MINUTE

CUTS = 3


def decided(chain):
    """Return every signal of a chain by bar close and symbol."""
    return {
        (signal.ts_close, signal.symbol): signal
        for result in chain.results
        if isinstance(result, Decision)
        for signal in result.signals
    }


def last_clock(chain):
    return max(m.ts_event for m in next(iter(given_clocks(chain))) if isinstance(m, Clock))


def given_clocks(chain):
    return (given for (stage, _), given in chain.given.items() if stage == "bars")


@pytest.fixture(scope="module")
def ticks(short):
    """Return what the short recording decides, and its log."""
    settings = load_profile("demo")
    log = list(iterate(ReplayInputs([short, MOOD])))
    models = load_models(settings)
    return settings, models, log, decided(Chain(settings, models).push(log))


@pytest.mark.parametrize("seed", range(CUTS))
def test_cutting_a_recording_leaves_earlier_signals(ticks, seed):
    settings, models, log, whole = ticks
    cut = random.Random(seed).randrange(len(log) * 3 // 4, len(log))
    chain = Chain(settings, models).push(log[:cut])
    before = decided(chain)
    closed = last_clock(chain)
    assert before == {key: signal for key, signal in whole.items() if key[0] <= closed}
    assert before


@pytest.mark.parametrize("seed", range(CUTS))
def test_cutting_bars_leaves_earlier_signals(seed):
    settings = load_profile("equities", symbols=("AAPL", "SPY"))
    inputs = ReplayInputs(
        [EQKER / "AAPL_1min.csv", EQKER / "SPY_1min.csv"],
        tz="America/New_York",
        interval=MINUTE,
        calendar="XNYS",
    )
    log = list(iterate(inputs))[:1400]
    models = load_models(settings)
    whole = decided(Chain(settings, models).push(log))
    cut = random.Random(seed).randrange(700, len(log))
    chain = Chain(settings, models).push(log[:cut])
    before = decided(chain)
    closed = last_clock(chain)
    assert before == {key: signal for key, signal in whole.items() if key[0] <= closed}
    assert before
