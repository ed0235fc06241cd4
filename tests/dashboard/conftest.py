"""One browser, one replayed store whose headline is an attack, one paced run of 60 symbols."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.commands_run import first_receive_time
from operators.messages import SECOND
from tests.api.paced import paced
from tests.api.serving import served
from tests.dashboard.browser import chromium
from tests.integration import replays
from tests.wide import wide

ATTACK = (
    'Bitcoin <b>soars</b> <img src=x onerror="window.attacked=1"> & <script>attacked=1</script>'
)
SYMBOLS = 60
MINUTES = 8


@pytest.fixture(scope="session")
def browser():
    """Return a browser, open for all tests."""
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Return the store of a replay of the shipped recording's first lines."""
    folder = tmp_path_factory.mktemp("dashboard")
    short = replays.write(folder / "short.ndjson", replays.recorded(replays.SHORT))
    headlines = folder / "headlines.jsonl"
    at = first_receive_time(short) + 195 * SECOND
    headlines.write_text(json.dumps({"text": ATTACK, "available_at": at, "source": "you"}) + "\n")
    path = folder / "run.sqlite"
    replays.replay(path, short, replays.MOOD, headlines)
    return path


@pytest.fixture(scope="session")
def api(store, tmp_path_factory):
    """Serve it to this machine, without keys."""
    with served(store, tmp_path_factory.mktemp("keys")) as server:
        yield server


@dataclass
class Live:
    """A run that goes on, and its store."""

    process: object
    store: Path


@pytest.fixture(scope="session")
def live(tmp_path_factory):
    """Run 60 symbols at twice true speed behind the warm-up."""
    folder = tmp_path_factory.mktemp("live")
    recording, names = wide(folder / "wide.ndjson", SYMBOLS, minutes=MINUTES, quotes=False)
    store = folder / "run.sqlite"
    with paced(store, recording, speed=2, symbols=names) as process:
        yield Live(process, store)
    recording.unlink()
