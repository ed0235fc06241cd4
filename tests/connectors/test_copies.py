"""The same story from another desk is a copy; the opposite story is not."""

import itertools
import random

import pytest

from connectors.sources.copies import Copies, identity
from connectors.sources.headline_text import tokens

LONG = (
    "Apple shares rise after quarterly revenue beats analyst estimates on strong iPhone demand"
    " in China"
)


def is_copy(first, second):
    copies = Copies(age=1000, most=10)
    copies.add(tokens(first), 0)
    return copies.find(tokens(second), 1) is not None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Bitcoin hits $60,000", "BITCOIN  hits $60,000!"),
        ("Apple\u2019s sales rise \u2013 again", "Apple's sales rise - again"),
        ("\u201cBuy\u201d says Fed\u2026", '"Buy" says Fed...'),
        ("Bitcoin \U0001f680 soars \U0001f525", "Bitcoin soars"),
        ("Ｂｉｔｃｏｉｎ　soars", "Bitcoin soars"),  # noqa: RUF001
        ("BREAKING: The Fed cuts rates", "Fed cuts rates"),
        ("UPDATE 2-Fed cuts rates", "Fed cuts rates"),
        ("Fed cuts rates https://x.example/1?a", "Fed cuts rates"),
        ("Sales up 5 percent", "Sales up 5%"),
        ("Sales of 1,000 cars", "Sales of 1000 cars"),
        ("トヨタ、純利益が増加", "【速報】ﾄﾖﾀ、純利益が増加！"),  # noqa: RUF001
        (LONG, LONG + " today"),
        (LONG + " today", LONG),
        (LONG, "Report: " + LONG),
    ],
)
def test_copies(first, second):
    assert is_copy(first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Bitcoin rises 5%", "Bitcoin rises 6%"),
        ("Bitcoin +5%", "Bitcoin -5%"),
        ("Apple sues Samsung", "Samsung sues Apple"),
        (LONG, LONG.replace("beats", "misses")),
        (LONG, LONG.replace("rise", "fall")),
        (LONG, LONG.replace("revenue beats", "revenue never beats")),
        (LONG, LONG + " 2024"),
        (LONG, LONG + " sources close to the matter said on Friday"),
        ("トヨタ、今期は増益", "トヨタ、今期は減益"),
        ("Fed cuts rates", "Fed cuts rates again"),  # short: a word weighs much
    ],
)
def test_no_copies(first, second):
    assert not is_copy(first, second)


def test_id_is_the_storys_wherever_seen():
    assert identity(tokens("The Fed cuts rates!")) == identity(tokens("BREAKING: Fed cuts rates"))
    assert len(identity(tokens("x"))) == 32


def test_memory_is_bounded_by_number_and_age():
    copies = Copies(age=100, most=50)
    words = random.Random(1).sample(range(10**6), 12 * 200)
    for number in range(200):
        text = [f"w{'abcdefghij'[n % 10]}x{n}" for n in words[number * 12 : number * 12 + 12]]
        copies.add(tuple(text), number)
    assert len(copies) == 50
    assert sum(map(len, copies._by_word.values())) <= 50 * 4

    assert copies.find(("other",), 1000) is None
    assert len(copies) == 0
    assert copies._by_word == {}


def test_forgotten_is_new_again():
    copies = Copies(age=100, most=50)
    name = copies.add(tokens(LONG), 0)
    copies.forget(name)

    assert copies.find(tokens(LONG), 1) is None
    assert copies.find(tokens(LONG + " today"), 1) is None
    copies.forget("never added")


def test_candidates_by_rare_words_miss_no_near_copy():
    """Against a plain comparison of all pairs."""
    draw = random.Random(7)
    vocabulary = [
        f"{a}{b}word"[: 2 + draw.randrange(6)] + a
        for a, b in itertools.product("abcdefgh", repeat=2)
    ]
    for _ in range(300):
        base = tuple(draw.choice(vocabulary) for _ in range(draw.randrange(10, 36)))
        extra = list(base)
        for _ in range(len(base) // 9):
            if len(base) < 0.9 * (len(extra) + 1):
                break
            extra.insert(draw.randrange(len(extra) + 1), draw.choice(vocabulary))
        copies = Copies(age=10, most=10)
        copies.add(base, 0)
        assert copies.find(extra, 0) is not None, (base, extra)
