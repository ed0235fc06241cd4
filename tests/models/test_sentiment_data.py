"""Reading and splitting the training sets."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.finbert.data import SENTFIN, TWITTER, parse_decisions, read_sentfin, read_twitter, side
from models.finbert.text import clean, digest, key


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("{'MMTC': 'neutral'}", {"MMTC": "neutral"}),
        ('{"MMTC": "neutral", "Sebi": "negative"}', {"MMTC": "neutral", "Sebi": "negative"}),
        (
            "{'Osian's Art Fund': 'neutral', 'Sebi': 'positive'}",
            {"Osian's Art Fund": "neutral", "Sebi": "positive"},
        ),
        (
            "{'Sun Pharma': 'positive', 'Dr Reddy's Labs': 'positive'}",
            {"Sun Pharma": "positive", "Dr Reddy's Labs": "positive"},
        ),
        ("{'Reuters: poll': 'negative'}", {"Reuters: poll": "negative"}),
        ("{'A': 'bullish'}", None),
        ("['neutral']", None),
        ("{}", None),
        ("", None),
        ("neutral", None),
        ("{'A': 'neutral'", None),
    ],
)
def test_decisions_are_read_in_every_style_found_in_the_file(
    raw: str, expected: dict[str, str] | None
) -> None:
    assert parse_decisions(raw) == expected


@given(st.text())
def test_reading_decisions_never_raises(raw: str) -> None:
    parse_decisions(raw)


def test_headlines_with_disagreeing_entities_bad_maps_and_copies_are_left_out_and_counted(
    tmp_path: Path,
) -> None:
    (tmp_path / "sentiment").mkdir()
    (tmp_path / SENTFIN).write_text(
        "S No.,Title,Decisions,Words\n"
        "1,Profit up,{'A': 'positive'},2\n"
        "2,A wins as B loses,\"{'A': 'positive', 'B': 'negative'}\",5\n"
        "3,Broken,what,1\n"
        "4,PROFIT  up!,{'A': 'negative'},2\n"
    )

    found = read_sentfin(tmp_path)

    assert found.rows == 4
    assert found.train + found.validation + found.test == [("Profit up", 1)]
    assert found.left_out == {"unparsable": 1, "entities disagree": 1, "copies": 1}


def test_twitter_rows_keep_their_labels(tmp_path: Path) -> None:
    (tmp_path / "sentiment").mkdir()
    (tmp_path / TWITTER).write_text(
        'text,label\n"$A - cut, again https://t.co/x",0\nUp,1\nSame,2\n'
    )

    found = read_twitter(tmp_path)

    assert sorted(label for _, label in found.train + found.validation + found.test) == [0, 1, 2]


def test_copies_of_a_headline_fall_on_one_side() -> None:
    copies = [
        "Apple soars, again! https://t.co/abc",
        "APPLE soars again",
        "apple  soars: again http://x.y",
    ]

    assert len({digest(copy) for copy in copies}) == 1
    assert len({side(copy) for copy in copies}) == 1


def test_split_is_about_82_8_10() -> None:
    sides = [side(f"headline number {i}") for i in range(5_000)]

    assert sides.count("train") / 5_000 == pytest.approx(0.82, abs=0.02)
    assert sides.count("validation") / 5_000 == pytest.approx(0.08, abs=0.02)


@given(st.text())
def test_cleaning_settles_at_once_and_the_result_can_be_encoded(text: str) -> None:
    cleaned = clean(text)

    assert clean(cleaned) == cleaned
    assert "\x00" not in cleaned.encode().decode()
    assert key(cleaned) == key(text)
