"""One short replay of the shipped recording, and an API over it."""

import pytest

from tests.api.serving import served
from tests.integration import replays


@pytest.fixture(scope="session")
def short(tmp_path_factory):
    """Return the path of the shipped recording's first lines."""
    path = tmp_path_factory.mktemp("short") / "short.ndjson"
    return replays.write(path, replays.recorded(replays.SHORT))


@pytest.fixture(scope="session")
def store(short, tmp_path_factory):
    """Return the store of a replay of it."""
    path = tmp_path_factory.mktemp("api") / "run.sqlite"
    replays.replay(path, short, replays.MOOD)
    return path


@pytest.fixture(scope="session")
def api(store, tmp_path_factory):
    """Serve the store to this machine, without keys."""
    with served(store, tmp_path_factory.mktemp("keys")) as server:
        yield server


@pytest.fixture(scope="session")
def client(api):
    """Return a client of it."""
    with api.client() as client:
        yield client
