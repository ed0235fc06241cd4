"""Headlines and the mood index from files."""

import msgspec
import pytest

from connectors.sources.news_files import FEAR_GREED, headline_id, read_headlines, read_moods
from operators.messages import Headline, Mood, Reason

SECOND = 10**9


def headlines(folder, *lines):
    path = folder / "news.jsonl"
    path.write_bytes(b"".join(
        (line if isinstance(line, bytes) else msgspec.json.encode(line)) + b"\n" for line in lines
    ))  # fmt: skip
    entries = read_headlines(path)
    good = [msgspec.json.decode(e[4], type=Headline) for e in entries if e[2] == "headline"]
    return good, [(e[5], e[4]) for e in entries if e[2] == "bad"]


def test_fields_default_and_published_at_stands_in_for_available_at(tmp_path):
    [found], bad = headlines(tmp_path, {"text": "Up", "published_at": "2024-08-09T00:00:00Z"})

    assert bad == []
    assert found == Headline(
        id=headline_id("file", "Up"),
        source="file",
        lang="en",
        symbols=(),
        text="Up",
        published_at=1_723_161_600 * SECOND,
        available_at=1_723_161_600 * SECOND,
    )


def test_headlines_are_ordered_by_when_they_could_be_known(tmp_path):
    good, _ = headlines(
        tmp_path,
        {"text": "second", "available_at": 20, "published_at": 1},
        {"text": "first", "available_at": 10, "published_at": 5, "symbols": ["BTC"], "id": "7"},
    )

    assert [(h.text, h.available_at, h.published_at) for h in good] == [
        ("first", 10, 5),
        ("second", 20, 1),
    ]
    assert (good[0].id, good[0].symbols) == ("7", ("BTC",))


def test_any_iso_time_is_read_to_the_microsecond(tmp_path):
    [found], _ = headlines(
        tmp_path, {"text": "a", "available_at": "2024-08-09T09:00:00.123456+09:00"}
    )

    assert found.available_at == 1_723_161_600_123_456_000


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", Reason.UNREADABLE),
        (b'{"text":', Reason.BAD_JSON),
        (b"\xff\x00", Reason.BAD_JSON),
        (b'{"available_at":1}', Reason.BAD_TYPE),
        (b'{"text":"a"}', Reason.BAD_TYPE),
        (b'{"text":5,"available_at":1}', Reason.BAD_TYPE),
        (b'["text"]', Reason.BAD_TYPE),
        (b'{"text":" ","available_at":1}', Reason.BAD_VALUE),
        (b'{"text":"a","available_at":0}', Reason.BAD_VALUE),
        (b'{"text":"a","available_at":99999999999999999999}', Reason.BAD_VALUE),
        (b'{"text":"a","available_at":"soon"}', Reason.BAD_VALUE),
        (b'{"text":"a","available_at":"2024-08-09T00:00:00"}', Reason.BAD_VALUE),
    ],
)
def test_bad_lines_are_counted_and_cost_nobody_else(tmp_path, line, reason):
    good = {"text": "a", "available_at": 5}

    found, bad = headlines(tmp_path, good, line, good | {"available_at": 6})

    assert [h.available_at for h in found] == [5, 6]
    assert bad == [(reason, line)]


def test_moods_are_known_from_their_timestamp(tmp_path):
    path = tmp_path / "fear_greed.csv"
    path.write_text(
        "date,timestamp,value,classification\n"
        "2018-02-02,1517529600,15.0,Extreme Fear\n"
        "2018-02-01,1517443200,30.0,Fear\n"
        "2018-02-03,soon,30.0,Fear\n"
        "2018-02-04,1517702400,101,Fear\n"
        "2018-02-05\n"
    )

    entries = read_moods(path)

    assert [msgspec.json.decode(e[4], type=Mood) for e in entries if e[2] == "mood"] == [
        Mood(source=FEAR_GREED, value=30.0, available_at=1_517_443_200 * SECOND),
        Mood(source=FEAR_GREED, value=15.0, available_at=1_517_529_600 * SECOND),
    ]
    assert [e[5] for e in entries if e[2] == "bad"] == [
        Reason.BAD_TYPE,
        Reason.BAD_VALUE,
        Reason.BAD_TYPE,
    ]


def test_huge_field_or_open_quote_of_a_mood_costs_one_row(tmp_path):
    path = tmp_path / "fear_greed.csv"
    rubbish = "x" * 200_000
    path.write_text(
        "date,timestamp,value,classification\n"
        f"{rubbish},1517443200,30.0,Fear\n"
        '"2018-02-01,1517443200,30.0,Fear\n'
        "2018-02-02,1517529600,15.0,Extreme Fear\n"
    )

    entries = read_moods(path)

    assert [(e[2], e[5]) for e in entries] == [
        ("bad", Reason.UNREADABLE),
        ("bad", Reason.BAD_TYPE),
        ("mood", None),
    ]
