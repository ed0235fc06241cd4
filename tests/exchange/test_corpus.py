import msgspec
import pytest

from exchange.corpus import Newsroom, NewsSettings, newsroom, read_stories
from exchange.parts import configure, part
from tests.exchange.serving import SECOND, venue_at

START = 10**18
EVERYWHERE = tuple({outlet for story in read_stories() for outlet in story.tell})


def room(**settings):
    return Newsroom(read_stories(), NewsSettings(**settings), lambda: START)


def test_items_are_published_one_by_one_in_order():
    desk = room(spacing_seconds=3.0, backlog=5)

    at_start = desk.items(START, EVERYWHERE, 1000)
    later = desk.items(START + 9 * SECOND, EVERYWHERE, 1000)

    assert [item.number for item in at_start] == [0, -1, -2, -3, -4, -5]
    assert later[3:] == at_start
    assert [item.ts for item in later[:3]] == [START + s * SECOND for s in (9, 6, 3)]


def test_every_telling_of_every_story_comes_once_a_round_by_its_outlet():
    count = sum(len(story.tell) for story in read_stories())
    desk = room(spacing_seconds=1.0, backlog=0)

    once = desk.items(START + (count - 1) * SECOND, EVERYWHERE, 10_000)
    twice = desk.items(START + (2 * count - 1) * SECOND, EVERYWHERE, 10_000)

    told = sorted(
        (s.key, outlet, title) for s in read_stories() for outlet, title in s.tell.items()
    )
    assert sorted((i.story.key, i.outlet, i.title) for i in once) == told
    assert len({item.title for item in twice}) == len({item.title for item in once}) * 2


def test_repeats_follow_the_first_telling_of_a_story():
    items = room(backlog=0).items(START + 300 * SECOND, EVERYWHERE, 1000)
    first = {}
    for item in reversed(items):
        first.setdefault(item.story.key, item.number)

    spread = [item.number - first[item.story.key] for item in items]
    assert max(spread) > 4


def test_authors_are_canaries_and_names_and_aliases_of_both_languages_occur():
    items = room(backlog=0).items(START + 300 * SECOND, EVERYWHERE, 1000)
    text = "\n".join(item.title for item in items)

    assert all(item.author.startswith("canary-author-") for item in items)
    names = ("Bitcoin", "BTC", "$BTC", "ビットコイン", "トヨタ", "7203", "AAPL", "Apple", "$TSLA")
    assert [name for name in names if name not in text] == []
    assert {story.lang for story in read_stories()} == {"en", "ja"}


def test_sentiments_are_within_bounds_and_varied():
    found = [story.sentiment for story in read_stories()]

    assert all(-1 <= sentiment <= 1 for sentiment in found)
    assert min(found) < -0.3 < 0.3 < max(found)
    assert len(found) >= 40


def test_a_story_with_an_unknown_field_is_refused(tmp_path):
    path = tmp_path / "stories.toml"
    path.write_text('[[story]]\nkey="a"\nbody=""\ncolour="red"\ntell={wire="x"}\n')

    with pytest.raises(msgspec.ValidationError, match="colour"):
        read_stories(path)


def test_settings_are_a_venues_own_and_come_before_its_parts():
    one, other = venue_at(settings=[NewsSettings(backlog=0)]), venue_at()

    assert len(newsroom(one).items(one.clock.now(), EVERYWHERE, 1000)) == 1
    assert len(newsroom(other).items(other.clock.now(), EVERYWHERE, 1000)) == 121
    assert newsroom(one) is newsroom(one)
    with pytest.raises(RuntimeError, match="before"):
        configure(one, NewsSettings())


def test_a_part_is_made_once():
    made = []

    def make(venue):
        made.append(venue)
        return object()

    venue = venue_at()
    assert part(venue, make) is part(venue, make)
    assert made == [venue]
