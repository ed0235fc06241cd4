"""What every stage promises, held for all of them on the same real input."""

import copy
import pickle

import msgspec
import numpy as np
import pytest

from flows.models import load_models
from flows.settings import load_profile
from operators.frozen import MAGIC
from operators.messages import (
    BarQuality,
    CrossSection,
    Headline,
    Hole,
    HoleState,
    Mood,
    Raw,
    Rejection,
    Repaired,
    Switch,
    Tick,
)
from operators.stage import freeze, thaw
from tests.chain import Chain, makers
from tests.outages import BEHIND, Outage, recorded

LINES = 75_000  # past the warm-up of 187 bars, with decisions after it
NAMES = (
    "clocks", "quality", "bars", "indicators", "cross_section", "forecast", "policy",
    "sentiment", "fusion", "risk", "outcomes", "alerts",
)  # fmt: skip


# Early, so that every stage sees some among its first messages; and when windows are full.
OUTAGES = (
    ("BTCUSDT", 800, 1500, 1900, HoleState.FILLED),
    ("ETHUSDT", 900, 1400, 1800, HoleState.UNFILLED),
    ("BTCUSDT", 52_000, 55_000, 56_500, HoleState.FILLED),
)


def entries():
    """Yield real lines with outages, switches, a few bad ones, a mood and headlines."""
    outages = [Outage(*place, state=state) for *place, state in OUTAGES]
    offset = 0

    def entry(kind, payload, ts):
        nonlocal offset
        offset += 1
        return Raw(offset=offset, path="a", kind=kind, ts_init=ts, payload=payload)

    feeds = ("binance", "yahoo")
    for number, (ts, payload) in enumerate(recorded(LINES)):
        if number == 10:
            mood = Mood(source="alternative.me", value=20.0, available_at=ts)
            yield entry("mood", msgspec.json.encode(mood), ts)
        if number % 9000 == 11:
            news = {"text": f"Bitcoin soars {number}", "symbols": ["BTC"]}
            yield entry("headline", msgspec.json.encode(news), ts)
        if number in {2000, 2200}:
            before, after = feeds if number == 2000 else feeds[::-1]
            switch = Switch(
                symbol="BTCUSDT", before=before, after=after, cause="cut", ts_event=ts + BEHIND
            )
            yield entry("switch", msgspec.json.encode(switch), ts)
        for outage in outages:
            for kind, told in outage.tells(number, ts):
                body = told if isinstance(told, bytes) else msgspec.json.encode(told)
                yield entry(kind, body, ts)
        if any(outage.takes(number, payload) for outage in outages):
            continue
        if number % 5000 == 12:
            yield entry("binance", payload, ts)  # then once more: a duplicate
            yield entry("binance", payload[:-7], ts)
        yield entry("binance", payload, ts)


@pytest.fixture(scope="module")
def chain():
    settings = load_profile("demo")
    return Chain(settings, load_models(settings)).push(list(entries()))


def inputs(chain, name):
    """Return the stage's longest input: one key's messages."""
    return max((given for (stage, _), given in chain.given.items() if stage == name), key=len)


def plain(value):
    """Return `value` with arrays as bytes, so that == compares every bit."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, msgspec.Struct):
        return (type(value).__name__, *(plain(getattr(value, f)) for f in value.__struct_fields__))
    if isinstance(value, list | tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, dict):
        return tuple((plain(key), plain(item)) for key, item in value.items())
    if isinstance(value, bytes) and value.startswith(MAGIC):
        return "frozen state"  # equal states may share objects differently
    return value


def run(stage, messages):
    return [plain(result) for message in messages for result in stage.on(message)]


def made(chain, name):
    return makers(chain.settings, chain.models)[name]()


def few(messages):
    """Cut a long input; every stage has seen all kinds of messages by then."""
    return messages[:3000]


@pytest.mark.parametrize("name", NAMES)
def test_stage_has_something_to_do_here(chain, name):
    assert run(made(chain, name), few(inputs(chain, name)))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("clocks", Hole),
        ("clocks", Switch),
        ("quality", Switch),
        ("bars", Hole),
        ("bars", Switch),
        ("indicators", Repaired),
        ("cross_section", Repaired),
    ],
)
def test_messages_of_broken_feeds_are_among_the_input(chain, name, kind):
    assert any(isinstance(message, kind) for message in few(inputs(chain, name)))


@pytest.mark.parametrize("name", ["clocks", "quality", "bars"])
def test_fetched_trades_are_among_the_input(chain, name):
    assert any(isinstance(m, Tick) and m.backfilled for m in few(inputs(chain, name)))


def test_repairs_reach_the_cross_sections_that_may_know_them(chain):
    crosses = [m for m in inputs(chain, "forecast") if isinstance(m, CrossSection)]
    repaired = [(c.ts_close, r) for c in crosses for r in c.repaired]

    assert {r.symbol for _, r in repaired} == {"BTCUSDT"}  # the other hole stays unfilled
    assert len(repaired) >= 2
    assert all(r.known_at == at for at, r in repaired)
    assert any(c.ready.any() and BarQuality.GAP in {b.quality for b in c.bars} for c in crosses)


@pytest.mark.parametrize("name", NAMES)
def test_input_is_untouched(chain, name):
    # Where the feeds broke too.
    messages = [*few(inputs(chain, name))[:1500], *few(inputs(chain, name))[-400:]]
    before = [plain(copy.deepcopy(message)) for message in messages]
    run(made(chain, name), messages)
    assert [plain(message) for message in messages] == before


@pytest.mark.parametrize("name", NAMES)
def test_replay_is_identical(chain, name):
    messages = few(inputs(chain, name))
    assert run(made(chain, name), messages) == run(made(chain, name), messages)


@pytest.mark.parametrize("name", NAMES)
def test_state_pickles(chain, name):
    stage = made(chain, name)
    run(stage, few(inputs(chain, name)))
    restored = thaw(made(chain, name), freeze(stage)).state
    assert type(restored) is type(stage.state)
    assert plain_state(copy.deepcopy(stage.state)) == plain_state(restored)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0.0, 0.31, 0.72])
def test_resuming_after_an_abort_equals_an_uninterrupted_run(chain, name, share):
    messages = few(inputs(chain, name))
    cut = int(len(messages) * share)
    aborted = made(chain, name)
    results = run(aborted, messages[:cut])
    snapshot = freeze(aborted)
    run(aborted, messages[cut:][:50])  # what was done after the snapshot is lost
    resumed = thaw(made(chain, name), snapshot)
    results += run(resumed, messages[cut:])
    assert results == run(made(chain, name), messages)


@pytest.mark.parametrize("name", NAMES)
def test_message_of_an_unknown_kind_harms_nothing(chain, name):
    stage = made(chain, name)
    before = copy.deepcopy(stage.state)
    list(stage.on(Headline.__struct_fields__))
    assert plain_state(before) == plain_state(stage.state)


def plain_state(state):
    return pickle.dumps(state)


def test_the_bad_lines_were_rejected_and_nothing_else(chain):
    rejected = [record for record in chain.records if isinstance(record, Rejection)]
    assert {str(record.reason) for record in rejected} == {"bad_json", "duplicate"}
    assert len(rejected) == 30
