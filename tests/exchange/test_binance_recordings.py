"""A recording becomes a schedule on the venue's time; what is derived agrees with it."""

import gzip
import json
from itertools import groupby

import pytest

from exchange.app import RECORDING
from exchange.recordings import RecordingError, read_recording
from tests.exchange.venues import LINES, SECONDS

START = 1_723_161_254_000_000_000


def trade(number, ms, price="10.00000000", maker="false", symbol="BTCUSDT"):
    return (
        f'{{"stream":"{symbol.lower()}@trade","data":{{"e":"trade","E":{ms},"s":"{symbol}",'
        f'"t":{number},"p":"{price}","q":"1.50000000","T":{ms},"m":{maker},"M":true}}}}'
    )


def write(folder, rows, name="recording.ndjson"):
    text = "".join(f"{received} {raw}\n" for received, raw in rows).encode()
    path = folder / name
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return path


def test_every_recorded_message_is_there_once_and_in_order():
    recording = read_recording(RECORDING, SECONDS)
    events = []
    for track in recording.tracks:
        rows = {0: track.trades, 1: track.quotes}
        events += [(e.order, rows[e.kind][e.number].raw) for e in track.events if e.kind in rows]

    assert [raw for _, raw in sorted(events)] == LINES
    assert not recording.skipped


def test_no_message_is_sent_before_it_happened():
    recording = read_recording(RECORDING, SECONDS)
    for track in recording.tracks:
        leads = [
            recording.start + track.dues[one.line] - one.event_ms * 1_000_000
            for one in track.trades
        ]
        assert min(leads) >= 0
        assert sorted(leads)[len(leads) // 2] < 50_000_000


@pytest.mark.parametrize("name", ["plain.ndjson", "zipped.ndjson.gz"])
def test_plain_and_zipped_recordings_are_read(tmp_path, name):
    ms = START // 1_000_000
    path = write(tmp_path, [(START, trade(1, ms)), (START + 5, trade(2, ms))], name)

    (track,) = read_recording(path).tracks

    assert [one.id for one in track.trades] == [1, 2]


def test_lines_of_other_forms_are_counted_not_served(tmp_path):
    ms = START // 1_000_000
    rows = [
        (START, trade(1, ms)),
        (START, "torn{"),
        (START, '{"stream":"btcusdt@depth","data":{}}'),
        ("x", "{}"),
        (START, trade(1, ms)),
        (START, trade(2, ms - 1)),
        (START, trade(3, ms)),
    ]

    recording = read_recording(write(tmp_path, rows))

    assert [one.id for one in recording.tracks[0].trades] == [1, 3]
    assert dict(recording.skipped) == {
        "other stream or form": 2,
        "not `<ns> <JSON>`": 1,
        "trade id that came before": 1,
        "trade time that goes back": 1,
    }


@pytest.mark.parametrize("text", [b"", b"rubbish\n", b"1723161254000000000 {}\n", b"\x1f\x8btorn"])
def test_what_is_no_recording_is_refused_in_a_sentence(tmp_path, text):
    path = tmp_path / "r"
    path.write_bytes(text)

    with pytest.raises(RecordingError, match=str(path)):
        read_recording(path)


def test_aggregates_are_the_runs_of_price_side_and_millisecond():
    for track in read_recording(RECORDING, SECONDS).tracks:
        mine = [json.loads(one.raw)["data"] for one in track.trades]
        runs = [list(run) for _, run in groupby(mine, lambda t: (t["p"], t["m"], t["T"]))]

        assert [(one.first, one.last) for one in track.aggregates] == [
            (mine.index(run[0]), mine.index(run[-1])) for run in runs
        ]
        assert len(runs) < len(mine)


def test_a_missing_id_ends_an_aggregate(tmp_path):
    ms = START // 1_000_000
    rows = [(START, trade(number, ms)) for number in (1, 2, 4)]

    (track,) = read_recording(write(tmp_path, rows)).tracks

    assert [(one.first, one.last) for one in track.aggregates] == [(0, 1), (2, 2)]
