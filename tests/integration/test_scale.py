"""A run through Kafka in processes of its own: killed, stopped, cut in other shards, cut off.

Shortened; `make acceptance` has the full form of it, and reports on it.
"""

import os
import signal
import subprocess
import sys
import time

import pytest
from confluent_kafka.admin import AdminClient

from connectors.kafka.topics import FUSED, LOG
from flows import broker as broker_module
from flows.scale import run_portfolio
from flows.services import load_services
from operators.errors import SettingsError
from tests.integration.replays import MOOD, ROOT, digest, replay, rows
from tests.kafka_watch import Watch
from tests.pipeline import ARCHIVE, INGEST, PORTFOLIO, Pipeline
from tests.recovery_drill import bar_closes, drill, headlines, made, rescale, seeded, whole
from tests.servers.kafka import Broker, broker
from tests.servers.process import free_port
from tests.tiers import tiers
from tests.wide import wide

SHARDS = "0-7"
PROCESSES = (INGEST, SHARDS, PORTFOLIO, ARCHIVE)
OUTAGE = 5.0  # seconds


@pytest.fixture(scope="module")
def kafka():
    with broker() as started:
        yield started


def test_processes_that_are_killed_leave_every_store_as_an_undisturbed_run(kafka, short, tmp_path):
    with tiers(tmp_path) as stores:
        plain = tmp_path / "plain.sqlite"
        news = headlines(tmp_path / "news.jsonl")
        replay(plain, short, "--headlines", news, profile=stores.profile)
        strikes = seeded(20240808, PROCESSES, 4)
        with (
            Pipeline(
                tmp_path / "kafka", kafka, short, "--headlines", news,
                profile=stores.profile, tiers=stores,
            ) as pipeline,
            Watch(pipeline.settings) as watch,
        ):  # fmt: skip
            pipeline.start(*PROCESSES)
            drill(pipeline, watch, strikes, bar_closes(plain))
        assert digest(pipeline.store) == digest(plain)
        assert rows(pipeline.store, "SELECT count(*) FROM notices") == [(2,)]
        alerts = "SELECT * FROM alerts ORDER BY ts_event, fingerprint"
        assert len(rows(plain, alerts)) >= 4
        assert rows(pipeline.store, alerts) == rows(plain, alerts)
        whole(watch, plain)
        assert stores.differences(pipeline.store) == {}
        assert sum(strike.repeated > 0 for strike in strikes) * 3 >= len(strikes)


def test_a_halted_broker_and_processes_told_to_stop_cost_only_time(
    kafka, short, reference, tmp_path
):
    store, _, expected = reference
    strikes = seeded(5, PROCESSES, 4, first=0.4, order=signal.SIGTERM)
    with (
        Pipeline(tmp_path / "kafka", kafka, short, MOOD, speed=20) as pipeline,
        Watch(pipeline.settings) as watch,
    ):
        pipeline.start(*PROCESSES)
        watch.until(lambda: made(pipeline, watch, ARCHIVE) > 0)  # all are at work
        kafka.halt()
        time.sleep(OUTAGE)
        kafka.go_on()
        drill(pipeline, watch, strikes, bar_closes(store))  # each ends well within ten seconds
    assert digest(pipeline.store) == expected
    whole(watch, store)


def test_shards_move_between_processes_in_the_middle_of_a_stream(kafka, tmp_path):
    recording, _ = wide(tmp_path / "wide.ndjson", 8, minutes=4, quotes=False)
    given = (recording, "--symbols", "all")
    plain = tmp_path / "plain.sqlite"
    replay(plain, *given, profile="binance")
    with (
        Pipeline(tmp_path / "kafka", kafka, *given, profile="binance", speed=8) as pipeline,
        Watch(pipeline.settings) as watch,
    ):
        pipeline.start(INGEST, PORTFOLIO, ARCHIVE)
        rescale(pipeline, watch, (1, 2, 4, 1))
    assert digest(pipeline.store) == digest(plain)
    whole(watch, plain)


def test_a_broker_that_comes_back_empty_stops_the_run_with_a_sentence(short, tmp_path):
    with (
        Broker(tmp_path) as own,
        Pipeline(tmp_path / "kafka", own, short, MOOD, speed=30) as pipeline,
    ):
        with Watch(pipeline.settings) as watch:
            pipeline.start(INGEST, SHARDS, PORTFOLIO)
            # All are at work: one that still begins would have to say that nobody answered it.
            watch.until(
                lambda: watch.entries(FUSED.name) > 20 and made(pipeline, watch, PORTFOLIO) > 0
            )
        own.kill()
        own.start()
        pipeline.wait(SHARDS, PORTFOLIO, INGEST, code=2)
        for name in (SHARDS, PORTFOLIO, INGEST):
            [said] = [line for line in pipeline.said(name).splitlines() if "nextgen: " in line]
            # Which of these depends on who asks the broker first.
            assert any(
                words in said
                for words in (
                    "the broker has lost entries; restore its data",
                    "no longer knows what was sent to it",
                    "partitions of the topic",
                    "the topic has no such partition",
                    "expected the topic",
                    "did not take an entry",
                )
            ), said


def test_what_does_not_fit_the_log_is_refused(kafka, short, tmp_path, monkeypatch):
    with Pipeline(tmp_path / "kafka", kafka, short) as pipeline:
        monkeypatch.setattr(broker_module, "CONFIG_SECONDS", 0.2)
        monkeypatch.setattr(broker_module, "install_stop_signals", lambda _: None)  # the tests' own
        with pytest.raises(SettingsError, match="nothing has begun a log under the prefix"):
            run_portfolio(load_services(pipeline.services), None)

        pipeline.start(INGEST)
        pipeline.wait(INGEST)
        begun = (INGEST, short, "--folder", pipeline.folder / "in", "--profile")
        assert "another configuration, universe or models" in pipeline.refused(
            *begun, "binance", "--symbols", "BTCUSDT"
        )
        assert "does not hold where the log" in pipeline.refused(
            INGEST, short, "--folder", tmp_path / "elsewhere", "--profile", "demo"
        )
        fewer = pipeline.changed(partitions=4)
        for line in (("run", "--shards", "0-3"), (*begun, "demo")):
            assert "symbols would change their shard" in pipeline.refused(*line, services=fewer)

        pipeline.start(SHARDS)
        pipeline.wait(SHARDS)
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        [deleted] = admin.delete_topics([pipeline.settings.topic(LOG.name)]).values()
        deleted.result()
        assert "the broker has lost entries" in pipeline.refused("run", "--shards", SHARDS)


@pytest.mark.parametrize("processes", [1, 2])
def test_bytewax_itself_runs_the_flow_in_one_process_or_two(short, reference, tmp_path, processes):
    store = tmp_path / "run.sqlite"
    line = [sys.executable, "-m", "bytewax.run", "flows.signals:flow"]
    how = {
        "cwd": ROOT,
        "env": os.environ
        | {
            "NEXTGEN_PROFILE": "demo",
            "NEXTGEN_INPUTS": os.pathsep.join(map(str, (short, MOOD))),
            "NEXTGEN_STORE": str(store),
        },
    }
    lines = [line]
    if processes > 1:
        addresses = ";".join(f"127.0.0.1:{free_port()}" for _ in range(processes))
        lines = [[*line, "-i", str(n), "-a", addresses] for n in range(processes)]
    running = [subprocess.Popen(each, stderr=subprocess.PIPE, **how) for each in lines]
    for process in running:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert digest(store) == reference[2]
