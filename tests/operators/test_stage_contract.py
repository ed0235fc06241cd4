"""What every stage promises, held for all of them on the same real input."""

import copy
import gzip
import pickle
from itertools import islice

import msgspec
import numpy as np
import pytest

from flows.models import load_models
from flows.settings import load_profile
from operators.messages import Headline, Mood, Raw, Rejection
from operators.stage import freeze, thaw
from tests.chain import Chain, makers
from tests.support import RECORDING

LINES = 75_000  # past the warm-up of 187 bars, with decisions after it
NAMES = (
    "clocks", "quality", "bars", "indicators", "cross_section", "forecast", "policy",
    "sentiment", "fusion", "risk", "outcomes",
)  # fmt: skip


def entries():
    """Yield real lines with a few bad ones, a mood and headlines among them."""
    offset = 0

    def entry(kind, payload, ts):
        nonlocal offset
        offset += 1
        return Raw(offset=offset, path="a", kind=kind, ts_init=ts, payload=payload)

    with gzip.open(RECORDING) as lines:
        for number, line in enumerate(islice(lines, LINES)):
            ts, payload = line.rstrip(b"\n").split(b" ", 1)
            if number == 10:
                mood = Mood(source="alternative.me", value=20.0, available_at=int(ts))
                yield entry("mood", msgspec.json.encode(mood), int(ts))
            if number % 9000 == 11:
                news = {"text": f"Bitcoin soars {number}", "symbols": ["BTC"]}
                yield entry("headline", msgspec.json.encode(news), int(ts))
            if number % 5000 == 12:
                yield entry("binance", payload, int(ts))  # then once more: a duplicate
                yield entry("binance", payload[:-7], int(ts))
            yield entry("binance", payload, int(ts))


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
    if isinstance(value, bytes) and value[:1] == b"\x80":
        return "pickled state"  # equal states may share objects differently
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


@pytest.mark.parametrize("name", NAMES)
def test_input_is_untouched(chain, name):
    messages = few(inputs(chain, name))[-400:]
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
    assert plain_state(pickle.loads(freeze(stage))) == plain_state(restored)


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
    before = pickle.loads(freeze(stage))
    list(stage.on(Headline.__struct_fields__))
    assert plain_state(before) == plain_state(stage.state)


def plain_state(state):
    return pickle.dumps(state)


def test_the_bad_lines_were_rejected_and_nothing_else(chain):
    rejected = [record for record in chain.records if isinstance(record, Rejection)]
    assert {str(record.reason) for record in rejected} == {"bad_json", "duplicate"}
    assert len(rejected) == 30
