"""Inputs of every kind merge into one log."""

from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest

from connectors.sources.inputs import ReplayInputs, iterate, symbols_in
from operators.errors import InputError
from operators.messages import Clock, Headline, Reason

SECOND = 10**9
MINUTE = 60 * SECOND
START = 1_723_161_254 * SECOND
HEADER = "symbol,ts,open,high,low,close,volume\n"


def eastern(text):
    zone = ZoneInfo("America/New_York")
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()) * SECOND


def recording(folder, seconds, name="a.ndjson", symbol="BTCUSDT"):
    path = folder / name
    path.write_text("".join(
        f'{START + int(s * SECOND)} {{"e":"trade","s":"{symbol}","n":{s}}}\n' for s in seconds
    ))  # fmt: skip
    return path


def bar_file(folder, rows, name="bars.csv"):
    path = folder / name
    path.write_text(HEADER + "".join(f"{s},{at},1,2,0.5,1.5,10\n" for s, at in rows))
    return path


def log(*paths, **options):
    entries = list(iterate(ReplayInputs(paths, **options)))
    assert [raw.offset for raw in entries] == list(range(len(entries)))
    return entries


def test_recordings_merge_by_time_then_place_then_line(tmp_path):
    first = recording(tmp_path, [0, 1, 1, 3, 5], "a")
    second = recording(tmp_path, [0, 1, 2, 4], "b")

    found = [(raw.ts_init - START, raw.path[-1]) for raw in log(first, second)]

    assert found == [
        (s * SECOND, name)
        for s, name in [(0, "a"), (0, "b"), (1, "a"), (1, "a"), (1, "b"), (2, "b"), (3, "a"),
                        (4, "b"), (5, "a")]
    ]  # fmt: skip
    reverse = [(raw.ts_init - START, raw.path[-1]) for raw in log(second, first)]
    assert reverse[:2] == [(0, "b"), (0, "a")]


def test_log_is_the_same_each_time(tmp_path):
    paths = [recording(tmp_path, range(10), "a"), recording(tmp_path, range(5), "b")]

    assert log(*paths) == log(*paths)


def test_rubbish_of_one_input_moves_no_other(tmp_path):
    good = recording(tmp_path, range(10), "a")
    other = recording(tmp_path, [s + 0.5 for s in range(10)], "b")
    expected = [(raw.path, raw.payload) for raw in log(good, other)]
    lines = good.read_bytes().splitlines(keepends=True)
    lines.insert(4, b"9223372036854775807 {}\n\xff\x00\n5 {}\n")
    good.write_bytes(b"".join(lines))

    found = log(good, other)

    assert [(raw.path, raw.payload) for raw in found if raw.kind != "bad"] == expected
    assert [raw.reason for raw in found if raw.kind == "bad"] == [
        Reason.BAD_RECEIVE_TIME,
        Reason.UNREADABLE,
        Reason.BAD_RECEIVE_TIME,
    ]


def test_headlines_stand_where_they_became_available(tmp_path):
    news = tmp_path / "news.jsonl"
    news.write_text(f'{{"text":"up","available_at":{START + SECOND + 1}}}\n')

    kinds = [raw.kind for raw in log(recording(tmp_path, [0, 1, 2]), news)]

    assert kinds == ["binance", "binance", "headline", "binance"]


def test_given_notices_stand_where_they_became_available(tmp_path):
    given = Headline(
        id="1", source="me", lang="en", symbols=(), text="up",
        published_at=START, available_at=START + SECOND + 1,
    )  # fmt: skip

    entries = log(recording(tmp_path, [0, 1, 2]), notices=[given])

    assert msgspec.json.decode(entries[2].payload, type=Headline) == given


def test_of_moods_only_the_last_before_and_those_within_come(tmp_path):
    moods = tmp_path / "mood.csv"
    days = [START // SECOND + s for s in (-200, -100, 1, 2, 100)]
    moods.write_text("date,timestamp,value,classification\n" + "".join(
        f"x,{day},{value},Fear\n" for value, day in enumerate(days)
    ))  # fmt: skip

    entries = log(recording(tmp_path, [0, 1, 2, 3]), moods)

    assert [
        (raw.kind, msgspec.json.decode(raw.payload).get("value")) for raw in entries
    ] == [
        ("mood", 1.0), ("binance", None), ("binance", None), ("mood", 2.0), ("binance", None),
        ("mood", 3.0), ("binance", None),
    ]  # fmt: skip


def test_bars_are_followed_by_the_clock_that_closes_them(tmp_path):
    close = eastern("2019-02-11 09:31")
    path = bar_file(tmp_path, [("B", close), ("A", close), ("A", close + MINUTE)])

    entries = log(path, interval=MINUTE, calendar="XNYS")

    assert [(raw.kind, raw.ts_init) for raw in entries] == [
        ("bar", close), ("bar", close), ("clock", close), ("bar", close + MINUTE),
        ("clock", close + MINUTE),
    ]  # fmt: skip
    assert msgspec.json.decode(entries[0].payload) == {
        "symbol": "A", "interval": MINUTE, "ts_close": close, "open": 1.0, "high": 2.0,
        "low": 0.5, "close": 1.5, "volume": 10.0,
    }  # fmt: skip
    assert msgspec.json.decode(entries[2].payload, type=Clock) == Clock(ts_event=close)


def test_boundaries_without_bars_have_clocks_in_session_only(tmp_path):
    path = bar_file(tmp_path, [
        ("A", eastern("2019-02-11 15:58")),
        ("A", eastern("2019-02-12 09:33")),
        ("A", eastern("2019-02-13 08:00")),
        ("A", eastern("2019-02-19 09:31")),
    ])  # fmt: skip

    entries = log(path, interval=MINUTE, calendar="XNYS")

    clocks = [raw.ts_init for raw in entries if raw.kind == "clock"]
    assert clocks[:6] == [
        *(eastern(f"2019-02-11 {t}") for t in ("15:58", "15:59", "16:00")),
        *(eastern(f"2019-02-12 {t}") for t in ("09:31", "09:32", "09:33")),
    ]
    # The rest of the 12th, nothing on the 13th to 15th, which hold no bar in session.
    assert len(clocks) == 3 + 390 + 1
    assert sum(raw.kind == "bar" for raw in entries) == 4


def test_bar_files_are_merged_before_clocks_are_made(tmp_path):
    close = eastern("2019-02-11 09:31")
    first = bar_file(tmp_path, [("B", close)], "1.csv")
    second = bar_file(tmp_path, [("A", close), ("A", close + MINUTE)], "2.csv")

    kinds = [raw.kind for raw in log(first, second, interval=MINUTE, calendar="XNYS")]

    assert kinds == ["bar", "bar", "clock", "bar", "clock"]


def test_bad_bars_and_one_of_a_wrong_year_change_nothing_else(tmp_path):
    close = eastern("2019-02-11 09:31")
    rows = [("A", close), ("A", close + MINUTE), ("B", close), ("B", close + MINUTE)]
    clean = log(bar_file(tmp_path, rows), interval=MINUTE, calendar="XNYS")
    wrong = [("A", close + 30 * 366 * 1440 * MINUTE), ("A", "soon"), ("A", close)]

    found = log(bar_file(tmp_path, [*rows, *wrong]), interval=MINUTE, calendar="XNYS")

    assert [(r.kind, r.payload) for r in found if r.kind != "bad"] == [
        (r.kind, r.payload) for r in clean
    ]
    assert sorted(r.reason for r in found if r.kind == "bad") == [
        Reason.BAD_VALUE,
        Reason.DUPLICATE,
        Reason.UNREADABLE,
    ]


def test_symbols_are_found_in_recordings_and_bars(tmp_path):
    a = recording(tmp_path, range(3), "a", "BTCUSDT")
    b = bar_file(tmp_path, [("SPY", START)])
    with a.open("a") as file:
        file.writelines(f'{START} {{"stream":"x","data":{{"u":1,"s":"ETHUSDT"}}}}\n' * 3)
        file.writelines(f'{START} {{"e":"depthUpdate","s":"DEPTHUSDT"}}\n' * 3)
        file.write(f'{START} {{"e":"trade","s":"ONCE"}}\n')

    assert symbols_in(ReplayInputs([a, b])) == ("BTCUSDT", "ETHUSDT", "SPY")


def test_symbol_of_a_single_message_counts_where_there_are_no_others(tmp_path):
    assert symbols_in(ReplayInputs([recording(tmp_path, [0])])) == ("BTCUSDT",)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("x.bin", b"\x00\x01\x02" * 100, "is of no known form: expected"),
        ("x.md", b"# Title\n", "is of no known form: expected"),
        ("x.csv", b"a,b\n1,2\n", "has no column 'symbol'"),
    ],
)
def test_unknown_file_is_one_clear_sentence(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(InputError, match=sentence):
        log(tmp_path / name)


def test_missing_file_empty_folder_and_unknown_calendar_are_refused_at_once(tmp_path):
    with pytest.raises(InputError, match=r"There is no file or folder .*absent\."):
        ReplayInputs([tmp_path / "absent"])
    with pytest.raises(InputError, match="of no known form"):
        ReplayInputs([tmp_path])
    with pytest.raises(InputError, match="Calendar 'NOPE' is not known"):
        ReplayInputs([], calendar="NOPE")


def test_damaged_gzip_is_a_recording_by_its_name(tmp_path):
    (tmp_path / "x.gz").write_bytes(b"rubbish")

    assert [raw.reason for raw in log(tmp_path / "x.gz")] == [Reason.UNREADABLE]


def test_few_rubbish_messages_or_bars_widen_no_universe(tmp_path):
    path = recording(tmp_path, range(4000))
    with path.open("a") as file:
        file.writelines(f'{START} {{"e":"trade","s":"FAKE"}}\n' * 3)
        file.writelines(f'{START} {{"e":"trade","s":"CUT","p":"}}\n' * 9)
        file.writelines(f'{START} {{"e":"trade","s":"SPARSE"}}\n' * 4)
    assert symbols_in(ReplayInputs([path])) == ("BTCUSDT", "SPARSE")

    rows = [("A", START + n * MINUTE) for n in range(30)]
    path = bar_file(tmp_path, [*rows, *(("B", at) for _, at in rows[:3]), ("ZZZZ", START)])
    assert symbols_in(ReplayInputs([path])) == ("A", "B")
    path = bar_file(tmp_path, [("A", START), ("A", START + MINUTE), ("B", START)])
    assert symbols_in(ReplayInputs([path])) == ("A", "B")


@pytest.mark.parametrize("day", ["2019-02-08", "2019-02-20"])
@pytest.mark.parametrize(("time", "calendar"), [("10:00", "XNYS"), ("10:00", "24/7"),
                                                ("05:00", "XNYS")])  # fmt: skip
def test_bar_of_a_wrong_date_makes_no_clock(tmp_path, day, time, calendar):
    opens = eastern("2019-02-11 09:35")
    rows = [("A", opens + n * MINUTE) for n in (0, 1, 2, 50, 51, 52)]
    options = {"interval": MINUTE, "calendar": calendar}
    clean = log(bar_file(tmp_path, rows), **options)

    found = log(bar_file(tmp_path, [*rows, ("A", eastern(f"{day} {time}"))]), **options)

    if time == "10:00":
        assert [r.reason for r in found if r.kind == "bad"] == [Reason.BAD_VALUE]
    clocks = [[r.ts_init for r in entries if r.kind == "clock"] for entries in (found, clean)]
    assert clocks[0] == clocks[1]


@pytest.mark.parametrize("calendar", ["XNYS", "24/7"])
def test_sparse_bars_all_stay(tmp_path, calendar):
    rows = [("A", eastern(f"2019-02-{day} {time}")) for day in (11, 12, 13)
            for time in ("09:40", "11:30", "11:45", "13:30", "15:50")]  # fmt: skip

    entries = log(bar_file(tmp_path, rows), interval=MINUTE, calendar=calendar)

    assert [raw.ts_init for raw in entries if raw.kind == "bar"] == [at for _, at in rows]


@pytest.mark.parametrize("content", [b"", b"\x00\xff\x80\n", b"\x1f\x8b rubbish", b"words\n"])
def test_given_headlines_are_read_whatever_they_hold(tmp_path, content):
    (tmp_path / "news").write_bytes(content)
    path = recording(tmp_path, range(3))

    found = log(path, headlines=[tmp_path / "news"])

    assert [raw.payload for raw in found if raw.kind != "bad"] == [r.payload for r in log(path)]
    assert sum(raw.kind == "bad" for raw in found) == (content != b"")


def test_given_headlines_come_after_the_market_and_must_exist(tmp_path):
    news = tmp_path / "news.jsonl"
    news.write_text(f'{{"text":"up","available_at":{START + SECOND}}}\n')
    path = recording(tmp_path, range(3))

    assert log(path, headlines=[news]) == log(path, news)
    with pytest.raises(InputError, match=r"There is no file of headlines .*absent\."):
        ReplayInputs([path], headlines=[tmp_path / "absent"])
