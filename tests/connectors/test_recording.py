"""A recording's lines come through whatever stands between them."""

import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sources.recording import GZIP, MAX_LINE, read_recording
from operators.errors import InputError
from operators.messages import Reason

SECOND = 10**9
START = 1_723_161_254 * SECOND


def line(number, text=None):
    text = f'{{"n":{number}}}' if text is None else text
    return f"{START + number * SECOND} {text}".encode()


def recording(folder, lines, name="r.ndjson"):
    path = folder / name
    content = b"".join(one + b"\n" for one in lines)
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def split(path):
    entries = list(read_recording(path))
    good = [(entry[3], entry[4]) for entry in entries if entry[5] is None]
    return good, [(entry[5], entry[4]) for entry in entries if entry[5] is not None]


GOOD = [line(number) for number in range(10)]
EXPECTED = [(START + n * SECOND, b'{"n":%d}' % n) for n in range(10)]


@pytest.mark.parametrize("name", ["r.ndjson", "r.ndjson.gz", "r.unknown"])
def test_plain_and_compressed_give_the_same(tmp_path, name):
    assert split(recording(tmp_path, GOOD, name)) == (EXPECTED, [])


def test_last_line_needs_no_newline(tmp_path):
    path = tmp_path / "r"
    path.write_bytes(b"\n".join(GOOD))

    assert split(path) == (EXPECTED, [])


@pytest.mark.parametrize(
    ("rubbish", "reason"),
    [
        (b"", Reason.UNREADABLE),
        (b"no time", Reason.UNREADABLE),
        (b"-5 {}", Reason.UNREADABLE),
        (b"1_0 {}", Reason.UNREADABLE),
        (b"1e18 {}", Reason.UNREADABLE),
        (b"99999999999999999999 {}", Reason.UNREADABLE),
        (b"\x00\xff\xfe\x80\x1f\x8b", Reason.UNREADABLE),
        (b"9223372036854775807 {}", Reason.BAD_RECEIVE_TIME),
        (b"0 {}", Reason.BAD_RECEIVE_TIME),
        (b"%d {}" % (START - 3600 * SECOND), Reason.BAD_RECEIVE_TIME),
        (b"%d {}" % (START + 50 * SECOND), Reason.BAD_RECEIVE_TIME),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2, 5, 10])
def test_rubbish_is_counted_once_with_its_bytes(tmp_path, rubbish, reason, place):
    lines = [*GOOD[:place], rubbish, *GOOD[place:]]

    assert split(recording(tmp_path, lines)) == (EXPECTED, [(reason, rubbish)])


def test_truncated_json_goes_on_to_be_rejected_where_it_is_decoded(tmp_path):
    good, bad = split(recording(tmp_path, [*GOOD[:5], line(5, '{"n":'), *GOOD[5:]]))

    assert good == [*EXPECTED[:5], (START + 5 * SECOND, b'{"n":'), *EXPECTED[5:]]
    assert bad == []


def test_ten_megabyte_line_is_cut_short(tmp_path):
    long = line(3, "x" * 10_000_000)

    good, bad = split(recording(tmp_path, [*GOOD[:3], long, *GOOD[3:]], "r.gz"))

    assert good == EXPECTED
    assert bad == [(Reason.TOO_LONG, long[:4096])]


def test_line_at_the_limit_passes_and_one_above_does_not(tmp_path):
    full = line(3, "x" * (MAX_LINE - 20))
    assert len(full) == MAX_LINE

    good, bad = split(recording(tmp_path, [*GOOD[:3], full, full + b"x"]))

    assert good[3][1] == full[20:]
    assert [reason for reason, _ in bad] == [Reason.TOO_LONG]


def test_endless_line_without_end_is_one_rejection(tmp_path):
    path = tmp_path / "r"
    path.write_bytes(b"\n".join(GOOD) + b"\n" + b"7" * (3 * MAX_LINE))

    good, bad = split(path)

    assert good == EXPECTED
    assert bad == [(Reason.TOO_LONG, b"7" * 4096)]


MANY = [line(number) for number in range(5000)]


@pytest.mark.parametrize("part", [0.0, 0.0001, 0.3, 0.9, 0.9999])
def test_half_written_gzip_gives_its_lines_and_one_rejection(tmp_path, part):
    whole = gzip.compress(b"".join(one + b"\n" for one in MANY))
    path = tmp_path / "r.gz"
    path.write_bytes(whole[: int(len(whole) * part)])

    good, bad = split(path)

    assert good == [(START + n * SECOND, b'{"n":%d}' % n) for n in range(len(good))]
    assert len(good) >= 5000 * part * 0.9 - 500
    [(reason, text)] = bad
    assert reason is Reason.UNREADABLE
    assert b"end too early" in text


def test_gzip_damaged_in_its_checksum_loses_no_line(tmp_path):
    whole = bytearray(gzip.compress(b"".join(one + b"\n" for one in MANY)))
    whole[-6] ^= 0xFF
    path = tmp_path / "r.gz"
    path.write_bytes(whole)

    good, bad = split(path)

    assert len(good) == 5000
    assert len(bad) == 1
    assert b"damaged gzip data" in bad[0][1]


def test_gzip_that_never_was_one_is_one_rejection(tmp_path):
    path = tmp_path / "r.gz"
    path.write_bytes(b"this is no gzip file\n" * 1000)

    good, bad = split(path)

    assert good == []
    assert [reason for reason, _ in bad] == [Reason.UNREADABLE]


def test_gzip_of_several_members_with_padding_is_read_through(tmp_path):
    halves = [b"".join(one + b"\n" for one in part) for part in (GOOD[:5], GOOD[5:])]
    path = tmp_path / "r.gz"
    path.write_bytes(b"".join(map(gzip.compress, halves)) + b"\0" * 512)

    assert split(path) == (EXPECTED, [])


def test_gzip_bomb_is_skipped_in_bounded_memory(tmp_path):
    packer = zlib.compressobj(wbits=31)
    path = tmp_path / "r.gz"
    with path.open("wb") as file:
        file.write(packer.compress(b"".join(one + b"\n" for one in GOOD)))
        for _ in range(64):
            file.write(packer.compress(bytes(1 << 20)))
        file.write(packer.flush())

    good, bad = split(path)

    assert good == EXPECTED
    assert [(reason, len(text)) for reason, text in bad] == [(Reason.TOO_LONG, 4096)]


def test_recorder_clock_that_moves_back_for_good_is_followed(tmp_path):
    moved = [f"{START - 3600 * SECOND + n} {{}}".encode() for n in range(3)]

    good, bad = split(recording(tmp_path, [*GOOD, *moved]))

    assert [time for time, _ in good[-3:]] == [START - 3600 * SECOND + n for n in range(3)]
    assert bad == []
    keys = [entry[0] for entry in read_recording(tmp_path / "r.ndjson")]
    assert keys == [*(START + n * SECOND for n in range(10)), *(time for time, _ in good[-3:])]


def test_times_beyond_2200_are_bad_however_many_agree(tmp_path):
    rubbish = [b"%d {}" % (9_214_646_400 * SECOND + n) for n in range(5)]

    good, bad = split(recording(tmp_path, [*GOOD[:5], *rubbish, *GOOD[5:]]))

    assert good == EXPECTED
    assert bad == [(Reason.BAD_RECEIVE_TIME, text) for text in rubbish]
    assert all(entry[0] < START + 60 * SECOND for entry in read_recording(tmp_path / "r.ndjson"))


def test_three_lines_that_agree_on_a_time_ahead_do_not_hold_the_rest_there(tmp_path):
    ahead = [line(50 + number) for number in range(3)]

    entries = list(read_recording(recording(tmp_path, [*GOOD[:5], *ahead, *GOOD[5:]])))

    assert [entry[0] for entry in entries[-5:]] == [START + n * SECOND for n in range(5, 10)]
    assert all(entry[5] is None for entry in entries)


def test_pause_of_a_quiet_market_passes_whole(tmp_path):
    lines = [*GOOD, *(line(40 + number) for number in range(4))]

    good, bad = split(recording(tmp_path, lines))

    assert [time for time, _ in good[-4:]] == [START + (40 + n) * SECOND for n in range(4)]
    assert bad == []


def test_missing_file_is_one_clear_sentence(tmp_path):
    with pytest.raises(InputError, match=r"absent cannot be read: No such file or directory\."):
        list(read_recording(tmp_path / "absent"))


RUBBISH = st.one_of(
    # A file that begins as gzip data do is read as such.
    st.binary(max_size=40).filter(
        lambda b: b"\n" not in b and not b[:1].isdigit() and not b.startswith(GZIP)
    ),
    st.sampled_from([0, 1, 10**17, 4 * 10**18, 2**63 - 1]).map(lambda t: b"%d {}" % t),
    st.just(b"x" * (MAX_LINE + 1)),
)


@settings(max_examples=60, deadline=None)
@given(
    rubbish=st.lists(st.tuples(st.integers(0, 10), RUBBISH), max_size=5, unique_by=lambda p: p[1])
)
def test_rubbish_anywhere_changes_nothing_else(tmp_path_factory, rubbish):
    lines = list(GOOD)
    for place, text in sorted(rubbish, reverse=True, key=lambda pair: pair[0]):
        lines.insert(place, text)

    good, bad = split(recording(tmp_path_factory.mktemp("rubbish"), lines))

    assert good == EXPECTED
    assert len(bad) == len(rubbish)
