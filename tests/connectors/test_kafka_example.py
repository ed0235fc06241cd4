import os
import subprocess
import sys
from contextlib import closing
from itertools import islice

import pytest

from connectors.kafka.admin import ensure_topics
from connectors.kafka.consumer_example import signals
from connectors.kafka.records import outgoing_of
from connectors.sinks.sqlite import rows_of
from operators.messages import Action, Signal
from tests.kafka_logs import send, until
from tests.servers.kafka import broker


@pytest.fixture(scope="session")
def kafka():
    with broker() as started:
        yield started


def test_signals_are_printed_in_order_and_a_group_goes_on_where_it_stands(kafka, tmp_path):
    settings = kafka.settings(partitions=1, prefix="nextgen")
    ensure_topics(settings)
    made = [
        Signal(
            signal_id=f"s{n}", symbol="BTCUSDT", ts_close=n, interval=1, action=Action.BUY,
            score=0.25, confidence=0.5, target_position=0.1, approved=True, price=10.0,
            reasons=("gap",), detail={},
        )
        for n in range(6)
    ]  # fmt: skip
    send(
        settings,
        [outgoing_of(*row) for each in made for row in rows_of(each, simulated=True)],
    )

    with closing(signals(kafka.bootstrap, "signal-printer")) as read:
        found = [signal["signal_id"] for signal in islice(read, 4)]
    assert found == ["s0", "s1", "s2", "s3"]

    said = tmp_path / "said"
    with said.open("wb") as out:
        program = subprocess.Popen(
            [sys.executable, "-m", "connectors.kafka.consumer_example", kafka.bootstrap],
            stdout=out,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        # Behind the last one given nothing was asked for, so it is not known to be handled.
        until(lambda: len(said.read_text().splitlines()) == 3, seconds=90)
    finally:
        program.kill()
        program.wait(30)
    assert said.read_text().splitlines() == [
        f"{n} simulated BTCUSDT BUY score +0.250 target +10.00% (gap)" for n in (3, 4, 5)
    ]
