"""One short replay that many tests compare with."""

import pytest

from tests.integration import replays


@pytest.fixture(scope="session")
def short(tmp_path_factory):
    """Return the path of the shipped recording's first lines."""
    path = tmp_path_factory.mktemp("short") / "short.ndjson"
    return replays.write(path, replays.recorded(replays.SHORT))


@pytest.fixture(scope="session")
def reference(short, tmp_path_factory):
    """Return (store, summary, digest) of an undisturbed replay of the short recording."""
    store = tmp_path_factory.mktemp("reference") / "run.sqlite"
    summary = replays.replay(store, short, replays.MOOD)
    return store, summary, replays.digest(store)
