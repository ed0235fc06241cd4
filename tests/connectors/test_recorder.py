"""A recording holds every entry of the log once, and reads back as it was."""

import gzip
import subprocess

import pytest

from connectors.journal import Journal, read_journal
from connectors.recorder import SUMS, Recorder, RecorderSettings, decode, encode
from connectors.sources.inputs import ReplayInputs, iterate, symbols_in
from operators.errors import InputError, StoreError
from operators.messages import SECOND, Raw, Reason

START = 1_723_161_254 * SECOND
TRADE = b'{"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT","t":1}}'
KINDS = [
    ("binance", "binance", TRADE),
    ("sequencer", "clock", b'{"ts_event":1723161255000000000,"feeds":[["binance","up"]]}'),
    ("binance", "binance_rest", b'{"symbol":"BTCUSDT","stream":"trade","trades":[ {"id":1} ]}'),
    ("binance", "binance", b'{"log":"clock","path":"sequencer","payload":{"ts_event":1}}'),
    ("binance", "binance", b"not json"),
    ("binance", "binance", b'{"cut'),
    ("binance", "binance", b'{"two":\n"lines"}'),
    ("binance", "binance", b""),
    ("yahoo", "yahoo", b"CgdCVEMtVVNE"),
    ("yahoo", "yahoo", b'{"type":"pricing","message":"CgdCVEMtVVNE"}'),
    ("rss", "headline", '{"text":"日銀が利上げ"}'.encode()),
    ("binance", "binance", b"\xff\xfe{}"),
]


def log(count=12):
    return [
        Raw(
            offset=n,
            path=KINDS[n % len(KINDS)][0],
            kind=KINDS[n % len(KINDS)][1],
            ts_init=START + n,
            payload=KINDS[n % len(KINDS)][2],
        )
        for n in range(count)
    ]


def record(folder, raws, **settings):
    recorder = Recorder(folder, RecorderSettings(**settings), symbols=("BTCUSDT",))
    recorder.write(raws)
    recorder.close()


def test_recording_reads_back_as_the_log_it_was(tmp_path):
    record(tmp_path, log())

    assert list(iterate(ReplayInputs([tmp_path]))) == log()


def test_venue_message_stands_verbatim_behind_its_receive_time(tmp_path):
    record(tmp_path, log(1))

    [file] = tmp_path.glob("*.gz")
    assert gzip.decompress(file.read_bytes()).splitlines()[1] == b"%d %b" % (START, TRADE)


def test_rejected_entry_keeps_its_reason():
    raw = Raw(offset=0, path="a", kind="bad", ts_init=1, payload=b"{}", reason=Reason.TOO_LONG)

    assert decode(encode(raw)) == ("bad", "a", b"{}", Reason.TOO_LONG)


def test_rotation_keeps_order_and_gives_each_file_a_checksum(tmp_path):
    raws = log(100)
    record(tmp_path, raws, max_entries=30)

    files = sorted(path.name for path in tmp_path.glob("*.gz"))
    assert files == [f"{n:012d}.ndjson.gz" for n in (0, 30, 60, 90)]
    checked = subprocess.run(["sha256sum", "-c", SUMS], cwd=tmp_path, check=False)
    assert checked.returncode == 0
    assert list(iterate(ReplayInputs([tmp_path]))) == raws


def test_changed_file_is_reported_and_read_all_the_same(tmp_path):
    raws = log(60)
    record(tmp_path, raws, max_entries=30)
    first = tmp_path / "000000000000.ndjson.gz"
    changed = gzip.decompress(first.read_bytes()).replace(b'"t":1', b'"t":2')
    first.write_bytes(gzip.compress(changed))

    found = list(iterate(ReplayInputs([tmp_path])))

    assert [raw.payload for raw in found if raw.reason is Reason.UNREADABLE] == [
        b"000000000000.ndjson.gz: the content is not what SHA256SUMS says"
    ]
    assert len(found) == len(raws) + 1


@pytest.mark.parametrize("written", [0, 1, 29, 30, 31, 60, 75, 99])
def test_crash_costs_no_entry_and_doubles_none(tmp_path, written):
    folder, journal = tmp_path / "recording", Journal(tmp_path / "journal")
    raws = [journal.append(raw.path, raw.kind, raw.ts_init, raw.payload) for raw in log(100)]
    journal.close()
    crashed = Recorder(folder, RecorderSettings(max_entries=30), symbols=("BTCUSDT",))
    crashed.write(raws[:written])  # and is never closed

    again = Recorder(folder, RecorderSettings(max_entries=30), symbols=("BTCUSDT",))
    again.resume(tmp_path / "journal", journal.next_offset)
    again.write(raws[90:])  # what the flow sees again is passed over
    again.close()

    assert list(iterate(ReplayInputs([folder]))) == raws
    assert list(read_journal(tmp_path / "journal")) == raws


def test_recording_declares_its_universe(tmp_path):
    record(tmp_path, log(1))

    assert symbols_in(ReplayInputs([tmp_path])) == ("BTCUSDT",)


def test_recording_of_our_own_is_told_from_others(tmp_path):
    record(tmp_path / "own", log())
    other = tmp_path / "other.ndjson"
    other.write_bytes(b"%d %b\n" % (START, TRADE))

    assert ReplayInputs([tmp_path / "own"]).timed
    assert not ReplayInputs([other]).timed
    assert not ReplayInputs([tmp_path / "own", other]).timed


def test_clock_that_was_set_back_keeps_the_order_of_the_log(tmp_path):
    raws = [
        Raw(offset=n, path="binance", kind="binance", ts_init=START + at * SECOND, payload=TRADE)
        for n, at in enumerate((0, 100, 3, 4, 200, 5))
    ]
    record(tmp_path, raws)

    assert list(iterate(ReplayInputs([tmp_path]))) == raws


def test_format_of_another_version_is_refused(tmp_path):
    path = tmp_path / "later.ndjson"
    path.write_bytes(b'%d {"log":"recording","format":2,"first_offset":0}\n' % START)

    with pytest.raises(InputError, match="format 2; this version reads format 1"):
        list(iterate(ReplayInputs([path])))


def test_recording_of_another_run_is_not_gone_on_with(tmp_path):
    record(tmp_path / "recording", log(50))
    Journal(tmp_path / "journal").close()
    other = Recorder(tmp_path / "recording", RecorderSettings())

    with pytest.raises(StoreError, match="holds the recording of another run"):
        other.resume(tmp_path / "journal", 0)


def test_file_that_could_not_be_written_is_no_part_of_the_recording(tmp_path, monkeypatch):
    recorder = Recorder(tmp_path, RecorderSettings(max_entries=10))
    recorder.write(log(15))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recorder._file, "write", full)
    with pytest.raises(StoreError, match="No space left on device"):
        recorder.write(log(16)[15:])
    recorder.close()

    assert [path.name for path in tmp_path.glob("*.gz")] == ["000000000000.ndjson.gz"]
    assert Recorder(tmp_path, RecorderSettings()).next_offset == 10


def test_damaged_recording_is_said_in_a_sentence(tmp_path):
    record(tmp_path, log(30))
    [file] = tmp_path.glob("*.gz")
    file.write_bytes(file.read_bytes()[:-20])

    with pytest.raises(StoreError, match="is damaged"):
        Recorder(tmp_path, RecorderSettings())
