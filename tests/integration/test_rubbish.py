"""Rubbish costs only itself."""

import gzip
import json

import pytest

from tests.integration import replays
from tests.integration.replays import MOOD, decisions, nextgen, replay, rows

YEAR_2262 = 9_223_372_036_854_775_000


def rubbish(line):
    """Yield (reason, line) of bad lines made from a good trade."""
    head, payload = line.rstrip(b"\n").split(b" ", 1)
    message = json.loads(payload)

    def with_(reason, receive=head, **fields):
        data = {**message["data"], **fields}
        text = json.dumps({"stream": message["stream"], "data": data}).encode()
        return reason, receive + b" " + text

    yield "bad_json", line[: len(line) // 2]
    yield with_("bad_type", p=17)
    yield with_("bad_type", t="x")
    yield with_("bad_value", p="-1")
    yield with_("bad_value", p="0")
    yield with_("bad_value", p="NaN")
    yield with_("bad_value", q="Infinity")
    yield with_("bad_value", p="1e300")
    yield with_("outlier", p=str(float(message["data"]["p"]) * 40), t=message["data"]["t"] + 1)
    yield with_("unknown_symbol", s="NOPEUSDT")
    yield "duplicate", line
    yield with_("bad_value", T=-5)
    yield with_("bad_value", T=YEAR_2262 // 1_000_000)
    following = message["data"]["t"] + 1  # the id it has would make it a duplicate
    yield with_("stale", T=message["data"]["T"] - 3_600_000, t=following)
    yield with_("future", T=message["data"]["T"] + 3_600_000, t=following)
    yield with_("bad_receive_time", receive=str(YEAR_2262).encode())
    yield with_("bad_receive_time", receive=b"1600000000000000000")
    yield "unreadable", b""
    yield "unreadable", b"\x00\xff\xfe\x80 binary \x1b"
    yield "unreadable", b"no time at all"
    yield "too_long", head + b' {"data":"' + b"x" * 10_000_000 + b'"}'


@pytest.fixture(scope="module")
def dirty(tmp_path_factory):
    """Return the short recording with rubbish in it, and how much of each kind."""
    lines = replays.recorded(replays.SHORT)
    trades = [i for i, line in enumerate(lines) if b'"e":"trade"' in line]
    places = trades[500 :: len(trades) // 25]
    expected = {}
    for number, (reason, bad) in reversed(list(enumerate(rubbish(lines[places[0]])))):
        place = places[number % len(places)]
        _, bad = list(rubbish(lines[place]))[number]
        lines.insert(place + 1, bad + b"\n" if not bad.endswith(b"\n") else bad)
        expected[reason] = expected.get(reason, 0) + 1
    path = tmp_path_factory.mktemp("dirty") / "dirty.ndjson"
    return replays.write(path, lines), expected


def test_rubbish_is_counted_with_its_reason_and_changes_nothing_else(dirty, reference, tmp_path):
    path, expected = dirty
    store = tmp_path / "run.sqlite"
    summary = replay(store, path, MOOD)
    assert summary["rejected"] == expected
    assert summary["unaccounted"] == 0
    assert summary["accepted"] == reference[1]["accepted"]
    assert decisions(store) == decisions(reference[0])
    assert replays.digest(store) == reference[2]


def test_rejected_payloads_are_kept_with_their_reason(dirty, tmp_path):
    store = tmp_path / "run.sqlite"
    replay(store, dirty[0], MOOD)
    kept = rows(store, "SELECT reason, payload FROM rejections WHERE reason = 'bad_json'")
    assert len(kept) == 1
    assert kept[0][1].startswith('{"stream"')


def test_half_written_gzip_is_used_up_to_where_it_breaks(short, reference, tmp_path):
    packed = gzip.compress(short.read_bytes(), 1)
    broken = tmp_path / "broken.ndjson.gz"
    broken.write_bytes(packed[: len(packed) * 95 // 100])
    store = tmp_path / "run.sqlite"
    summary = replay(store, broken, MOOD)
    assert summary["rejected"]["unreadable"] == 1
    ours, theirs = decisions(store), decisions(reference[0])
    assert 50 < len(ours) < len(theirs)
    assert ours == theirs[: len(ours)]


def test_missing_ids_are_gaps_and_nothing_worse(reference, tmp_path):
    lines = replays.recorded(replays.SHORT)
    trades = [i for i, line in enumerate(lines) if b'"e":"trade"' in line and b"BTC" in line]
    for place in trades[2000:2003]:
        lines[place] = None
    path = replays.write(tmp_path / "holes.ndjson", [line for line in lines if line])
    summary = replay(tmp_path / "run.sqlite", path, MOOD)
    assert summary["gaps"] == 1
    assert summary["accepted"] == reference[1]["accepted"] - 3
    found = rows(tmp_path / "run.sqlite", "SELECT first_id, last_id, filled FROM gaps")
    assert [last - first + 1 for first, last, _ in found] == [3]


def test_file_that_is_no_recording_ends_with_one_sentence(tmp_path):
    bad = tmp_path / "bad.bin"
    bad.write_bytes(bytes(range(256)) * 100)
    error = nextgen(
        "replay", bad, "--profile", "demo", "--store", tmp_path / "s.sqlite", "--quiet", code=2
    )
    assert "no known form" in error
    assert error.count("\n") == 1


def test_missing_file_ends_with_one_sentence(tmp_path):
    error = nextgen(
        "replay", "nowhere.gz", "--profile", "demo", "--store", tmp_path / "s.sqlite", code=2
    )
    assert "no file or folder nowhere.gz" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[risk]\nposition_limt = 0.1", "position_limt"),
        ("[grup]\n", "grup"),
        ("[group]\ninterval = '5x'", "interval"),
        ("[group]\ncalendar = 'XXXX'", "XXXX"),
        ("[clock]\nlateness_ns = 'soon'", "lateness_ns"),
        ("this is not toml", "TOML"),
    ],
)
def test_wrong_profile_key_ends_with_one_sentence(short, tmp_path, text, complaint):
    profile = tmp_path / "wrong.toml"
    profile.write_text(text)
    error = nextgen("replay", short, "--profile", profile, "--store", tmp_path / "s.sqlite", code=2)
    assert complaint in error
    assert error.count("\n") == 1
