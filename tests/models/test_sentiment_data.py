"""Reading and splitting the training sets."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.finbert.data import Row, side, split
from models.finbert.english import (
    SENTFIN,
    TWITTER,
    disagreeing,
    parse_decisions,
    read_sentfin,
    read_sentfin_entities,
    read_twitter,
)
from models.finbert.japanese import (
    CHABSA,
    WATCHERS,
    read_chabsa,
    read_chabsa_targets,
    read_watchers,
)
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
    assert found.train + found.validation + found.test == [Row("Profit up", 1)]
    assert found.left_out == {"unparsable": 1, "entities disagree": 1, "copies": 1}


def test_twitter_rows_keep_their_labels(tmp_path: Path) -> None:
    (tmp_path / "sentiment").mkdir()
    (tmp_path / TWITTER).write_text(
        'text,label\n"$A - cut, again https://t.co/x",0\nUp,1\nSame,2\n'
    )

    found = read_twitter(tmp_path)

    assert sorted(row.label for row in found.train + found.validation + found.test) == [0, 1, 2]


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


def everything(found) -> list[Row]:
    return [*found.train, *found.validation, *found.test]


def test_each_entity_of_a_headline_has_its_own_row(tmp_path: Path) -> None:
    (tmp_path / "sentiment").mkdir()
    (tmp_path / SENTFIN).write_text(
        "S No.,Title,Decisions,Words\n"
        "1,A wins as B loses,\"{'A': 'positive', 'B': 'negative'}\",5\n"
        "2,Broken,what,1\n"
        "3,C up,{'C': 'positive'},2\n"
    )

    found = read_sentfin_entities(tmp_path)

    text = "A wins as B loses"
    apart = [Row(text, 1, about="A"), Row(text, 0, about="B")]
    assert sorted(everything(found)) == sorted([*apart, Row("C up", 1, about="C")])
    assert list(disagreeing([*apart, Row("C up", 1, about="C")])) == apart
    assert found.left_out == {"unparsable": 1, "copies": 0}


def test_survey_comments_are_graded_in_three_and_split_by_month(tmp_path: Path) -> None:
    (tmp_path / "sentiment").mkdir()
    for number, (name, (grade, text)) in enumerate(WATCHERS.items()):
        rows = [("202504", "◎"), ("202505", "□"), ("202507", "\u00d7"), ("202507", "?")]
        lines = [
            {"year-month": month, grade: sign, text: f"{number} {month} {sign}"}
            for month, sign in rows
        ]
        packed = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
        (tmp_path / name).write_bytes(gzip.compress(packed.encode()))

    found = read_watchers(tmp_path)

    labels = [[row.label for row in rows] for rows in (found.train, found.validation, found.test)]
    assert labels == [[1, 1], [2, 2], [0, 0]]
    assert {row.lang for row in everything(found)} == {"ja"}
    assert (found.rows, found.left_out["without grade or text"]) == (8, 2)


def test_reports_give_sentences_that_agree_and_every_target(tmp_path: Path) -> None:
    (tmp_path / CHABSA).mkdir(parents=True)
    opinions = [
        {"target": "売上", "polarity": "positive"},
        {"target": "費用", "polarity": "negative"},
    ]
    sentences = [
        {"sentence": "売上は増え費用も増えた", "opinions": opinions},
        {"sentence": "売上は増えた", "opinions": opinions[:1]},
        {"sentence": "なし", "opinions": []},
    ]
    document = {"header": {"document_id": "E1"}, "sentences": sentences}
    (tmp_path / CHABSA / "e1.json").write_text(json.dumps(document), encoding="utf-8")

    whole, targets = read_chabsa(tmp_path), read_chabsa_targets(tmp_path)

    assert everything(whole) == [Row("売上は増えた", 1, "ja")]
    assert whole.left_out == {"without opinion": 1, "opinions disagree": 1, "copies": 0}
    assert [(row.about, row.label) for row in everything(targets)] == [
        ("売上", 1),
        ("費用", 0),
        ("売上", 1),
    ]


def test_a_text_of_another_side_than_its_first_copy_is_left_out() -> None:
    rows = [
        ("train", Row("Up 5 %", 1)),
        ("test", Row("up 5%!", 1)),
        ("test", Row("Up 5 %", 1, about="X")),
    ]

    found = split("made", "0", 3, rows, {})

    assert (len(found.train), len(found.test), found.left_out) == (1, 1, {"copies": 1})


def test_no_reports_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected documents"):
        read_chabsa(tmp_path)
