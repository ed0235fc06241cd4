"""How each language's model is made: its encoder, its rows, its schedule."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from models.finbert import english, japanese, network
from models.finbert.data import DataSet, Row
from models.finbert.network import Pretrained

WATCHERS_EACH_EPOCH = 20_000  # of 104,000: another part in each epoch
OF_A_SENTENCE = 2  # opinions of one annual report's sentence in an epoch


@dataclass(frozen=True)
class Recipe:
    """What a training is made of; chosen on validation rows."""

    lang: str
    encoder: str
    epochs: int
    rate: float
    batch: int = 32
    layer_decay: float = 0.95  # each layer learns at this share of the rate of the one above
    weight_decay: float = 0.01
    warm_up: float = 0.06
    smoothing: float = 0.05
    # Rarer classes weigh (1 / share) to this power: macro-F1 gains where accuracy hardly pays.
    class_weight_power: float = 0.4
    seed: int = 1
    max_length: int = 64
    layers: int = 12


@dataclass(frozen=True)
class Corpus:
    """The labelled sets of one language, by their role."""

    measured: tuple[DataSet, ...]  # choose by validation, measure by test
    also: tuple[DataSet, ...]  # asked about one entity or target; reported beside
    rows: Callable[[random.Random, int], list[Row]]  # of an epoch, by its number

    @property
    def sets(self) -> tuple[DataSet, ...]:
        """All of them."""
        return (*self.measured, *self.also)


RECIPES = {
    "en": Recipe("en", "all-mpnet-base-v2", epochs=4, rate=5e-5, layers=6),
    "ja": Recipe(
        "ja", "multilingual-e5-small", epochs=2, rate=1e-4, class_weight_power=0.3, max_length=128
    ),
}


def corpus(lang: str, data: Path) -> Corpus:
    """Read the sets of a language from the folder `data`."""
    return {"en": _english, "ja": _japanese}[lang](data)


def pretrained(recipe: Recipe, sets: Corpus) -> Pretrained:
    """Return the encoder of a recipe with a fresh head."""
    if recipe.lang == "en":
        return network.english(recipe.layers)
    return network.japanese(row.text for each in sets.sets for row in each.train)


def _english(data: Path) -> Corpus:
    whole, twitter = english.read_sentfin(data), english.read_twitter(data)
    entities = english.read_sentfin_entities(data)
    of_text = _by_text(entities.train)
    labels = {row.text: row for row in whole.train}

    def rows(rng: random.Random, _: int) -> list[Row]:
        """Give all of Twitter, and of each SEntFiN headline the whole or its entities."""
        found = list(twitter.train)
        for text, asked in of_text.items():
            row = labels.get(text)
            if row is None:
                found += asked
            else:
                found.append(row if rng.random() < 0.5 else rng.choice(asked))
        return found

    return Corpus((whole, twitter), (entities,), rows)


def _japanese(data: Path) -> Corpus:
    watchers, reports = japanese.read_watchers(data), japanese.read_chabsa(data)
    targets = japanese.read_chabsa_targets(data)
    of_text = _by_text(targets.train)
    pool = list(watchers.train)
    random.Random(0).shuffle(pool)  # noqa: S311 - the order of rows, no secret

    def rows(rng: random.Random, epoch: int) -> list[Row]:
        """Give the next part of the survey, all whole sentences, and some opinions of each."""
        begin = epoch * WATCHERS_EACH_EPOCH
        found = [pool[number % len(pool)] for number in range(begin, begin + WATCHERS_EACH_EPOCH)]
        found += reports.train
        for asked in of_text.values():
            found += rng.sample(asked, min(OF_A_SENTENCE, len(asked)))
        return found

    return Corpus((watchers, reports), (targets,), rows)


def _by_text(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.text, []).append(row)
    return found
