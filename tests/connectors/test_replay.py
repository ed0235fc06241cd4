"""The replay source: all of it, paced, resumed and stopped."""

import time
from threading import Event

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, run_main

from connectors.sources import replay
from connectors.sources.replay import Pace, ReplayInputs, ReplaySource, iterate
from operators.messages import SECOND, Raw

START = 1_723_161_254 * SECOND


@pytest.fixture
def inputs(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_text("".join(f"{START + n * SECOND} {{}}\n" for n in range(2500)))
    return ReplayInputs([path])


def drain(part):
    found = []
    try:
        while True:
            found.append(part.next_batch())
    except StopIteration:
        return found


def run(source):
    out = []
    flow = Dataflow("replay")
    op.output("out", op.input("in", flow, source), TestingSink(out))
    run_main(flow)
    return out


def test_flow_gets_the_whole_log(inputs):
    assert run(ReplaySource(inputs)) == list(iterate(inputs))


def test_batches_are_bounded_and_progress_reaches_the_total(inputs):
    seen = []
    source = ReplaySource(inputs, on_progress=lambda p: seen.append((p.done, p.total)))

    batches = drain(source.build_part("in", "0", None))

    assert max(map(len, batches)) == 1000
    assert seen[-1][0] == seen[-1][1] > 0


@pytest.mark.parametrize("taken", [0, 1, 2, 3])
def test_resuming_equals_an_uninterrupted_run(inputs, taken):
    source = ReplaySource(inputs)
    part = source.build_part("in", "0", None)
    before = [raw for _ in range(taken) for raw in part.next_batch()]

    after = drain(source.build_part("in", "0", part.snapshot()))

    assert before + [raw for batch in after for raw in batch] == list(iterate(inputs))


def test_stop_ends_the_input_at_once(inputs):
    stop = Event()
    part = ReplaySource(inputs, stop=stop).build_part("in", "0", None)
    part.next_batch()
    stop.set()

    with pytest.raises(StopIteration):
        part.next_batch()
    assert part.snapshot() == 1000


def test_paced_replay_gives_the_same_log_when_it_is_due(inputs, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(replay, "monotonic", lambda: now[0])
    part = ReplaySource(inputs, speed=10.0).build_part("in", "0", None)

    first, idle = part.next_batch(), part.next_batch()
    awake = part.next_awake()
    now[0] += 0.35
    later = part.next_batch()

    assert [raw.offset for raw in first] == [0]
    assert idle == []
    assert awake is not None
    assert awake.timestamp() - time.time() <= 0.01
    assert [raw.offset for raw in later] == [1, 2, 3]
    assert part.snapshot() == 4
    now[0] += 1000.0
    rest = [raw.offset for batch in drain(part) for raw in batch]
    assert rest == list(range(4, 2500))


def test_speed_does_not_change_the_log(inputs):
    assert run(ReplaySource(inputs, speed=1e6)) == list(iterate(inputs))


def at(seconds, kind="binance"):
    return Raw(offset=0, path="", kind=kind, ts_init=START + int(seconds * SECOND), payload=b"")


def test_warm_up_comes_at_once_and_the_rest_is_paced():
    pace = Pace(1.0, fast_until=START + 10 * SECOND)

    assert [pace.wait(at(s), 0.0) for s in (0, 5, 9, 10, 12)] == [0.0, 0.0, 0.0, 0.0, 2.0]


def test_headlines_and_rejections_are_not_waited_for_and_nights_are_skipped():
    pace = Pace(1.0)
    pace.wait(at(0), 0.0)

    assert pace.wait(at(500, "headline"), 0.0) == 0.0
    assert pace.wait(at(0, "bad"), 0.0) == 0.0
    assert pace.wait(at(17 * 3600), 0.0) == 0.0
    assert pace.wait(at(17 * 3600 + 1), 0.0) == 1.0
