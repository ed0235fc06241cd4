"""Alerts over whole processes: the same in every replay, and told whatever is killed."""

import random
import signal
import subprocess
import time
from typing import ClassVar

import pytest

from connectors.sinks.tables import TABLES
from tests.integration import replays
from tests.integration.replays import MOOD, ROOT, digest, nextgen, replay, rows
from tests.mailboxes import Webhook, until
from tests.stores import TS, alert, store_messages

ALERTS = f"SELECT {', '.join(TABLES['alerts'].names)} FROM alerts ORDER BY ts_event, fingerprint"
DELIVERY = """
[alerts.delivery]
group_seconds = 0.2
critical_seconds = 0.01
[alerts.delivery.targets.hook]
secret = "ALERT_HOOK_URL"
[alerts.delivery.routes]
critical = ["hook"]
warning = ["hook"]
info = ["hook"]
"""


@pytest.fixture(autouse=True)
def _no_worker_outlives_its_test():
    yield
    while Worker.running:
        process = Worker.running.pop()
        process.kill()
        process.communicate()


@pytest.fixture
def profile(tmp_path):
    path = tmp_path / "told.toml"
    path.write_text((ROOT / "flows/profiles/demo.toml").read_text() + DELIVERY)
    return path


class Worker:
    """`nextgen alerts deliver`, in a process of its own."""

    running: ClassVar = set()

    def __init__(self, store, profile, hook):
        arguments = ("alerts", "deliver", store, "--profile", profile)
        line, options = replays.command(
            *arguments, NEXTGEN_ALERT_HOOK_URL=hook.url("s3cr3t-c4n4ry")
        )
        self.process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
        )

        self.running.add(self.process)

    def end(self, order):
        self.process.send_signal(order)
        said, _ = self.process.communicate(timeout=30)
        self.running.discard(self.process)
        assert "c4n4ry" not in said
        assert self.process.returncode == (0 if order is signal.SIGTERM else -order), said


def ident(body):
    return body.splitlines()[-1]


def test_a_message_whose_answer_was_never_heard_comes_again_in_the_same_words(tmp_path, profile):
    store = store_messages(tmp_path / "run.sqlite", alert())
    with Webhook() as hook:
        hook.answers.clear()
        worker = Worker(store, profile, hook)
        until(lambda: len(hook.taken) == 1)
        worker.end(signal.SIGKILL)
        hook.answers.set()
        assert rows(store, "SELECT state FROM deliveries") == [("pending",)]
        # What has come since makes another message; the first is the first.
        store_messages(store, alert(subject="ETHUSDT"))
        worker = Worker(store, profile, hook)
        until(lambda: len(hook.taken) == 3)
        worker.end(signal.SIGTERM)

    assert hook.bodies[0] == hook.bodies[1]
    assert hook.titles[0] == hook.titles[1]
    assert ident(hook.bodies[2]) != ident(hook.bodies[0])
    assert "ETHUSDT" in hook.bodies[2]


def test_killed_at_any_moment_it_loses_no_alert_and_repeats_have_the_same_id(tmp_path, profile):
    draw = random.Random(5)
    profile.write_text(
        profile.read_text().replace("[alerts.delivery]", "[alerts.delivery]\nlines = 2")
    )
    store = store_messages(tmp_path / "run.sqlite")
    subjects = {f"S{number}" for number in range(60)}
    with Webhook() as hook:
        hook.delay = 0.02
        for start in range(0, 60, 15):
            worker = Worker(store, profile, hook)
            before = len(hook.taken)
            for number in range(start, start + 15):
                store_messages(store, alert(subject=f"S{number}", ts_event=TS + number))
            wanted = before + draw.randrange(1, 6)
            until(lambda: len(hook.taken) >= wanted)  # noqa: B023 - called in this turn
            time.sleep(draw.random() * 0.05)  # anywhere between two messages
            worker.end(signal.SIGKILL)
        worker = Worker(store, profile, hook)
        until(lambda: rows(store, "SELECT count(*) FROM routed_alerts") == [(60,)])
        until(lambda: rows(store, "SELECT DISTINCT state FROM deliveries") == [("delivered",)])
        worker.end(signal.SIGTERM)

    bodies = {ident(body): body for body in hook.bodies}
    assert all(bodies[ident(body)] == body for body in hook.bodies)
    once = "\n".join(bodies.values())
    assert all(once.count(f" {subject}: ") == 1 for subject in subjects)


def test_a_second_worker_is_refused_and_so_is_a_target_without_its_secret(tmp_path, profile):
    store = store_messages(tmp_path / "run.sqlite", alert())
    with Webhook() as hook:
        worker = Worker(store, profile, hook)
        until(lambda: len(hook.taken) == 1)
        error = nextgen(
            "alerts", "deliver", store, "--profile", profile, code=2,
            NEXTGEN_ALERT_HOOK_URL=hook.url(),
        )  # fmt: skip
        assert "another process delivers the alerts" in error
        worker.end(signal.SIGTERM)
    error = nextgen("alerts", "deliver", store, "--profile", profile, code=2)
    assert "nextgen secrets set ALERT_HOOK_URL" in error


def test_every_target_is_tried_by_the_test_command(profile):
    with Webhook() as hook:
        environment = {"NEXTGEN_ALERT_HOOK_URL": hook.url("s3cr3t-c4n4ry")}
        assert "hook: taken" in nextgen("alerts", "test", "--profile", profile, **environment)
        hook.answer = 403
        line, options = replays.command("alerts", "test", "--profile", profile, **environment)
        done = subprocess.run(line, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 1
    assert "403" in done.stdout
    assert "c4n4ry" not in done.stdout + done.stderr


def test_a_replay_gives_the_same_alerts_at_any_speed_and_with_two_workers(
    short, reference, tmp_path
):
    expected = rows(reference[0], ALERTS)
    assert len(expected) >= 4
    store = tmp_path / "run.sqlite"
    replay(store, short, MOOD, "--workers", "2")
    assert rows(store, ALERTS) == expected


def test_a_run_that_was_killed_and_resumed_gives_the_same_alerts(short, reference, tmp_path):
    store = tmp_path / "run.sqlite"
    arguments = ("replay", short, MOOD, "--profile", "demo", "--store", store, "--quiet")
    line, options = replays.command(*arguments, "--speed", "20")
    process = subprocess.Popen(
        line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options
    )
    until(lambda: store.is_file() and _count(store) >= 3, 120.0)
    process.kill()
    process.wait()
    assert _count(store) < len(rows(reference[0], ALERTS))
    replay(store, short, MOOD)
    assert rows(store, ALERTS) == rows(reference[0], ALERTS)


def _count(store):
    try:
        return rows(store, "SELECT count(*) FROM alerts")[0][0]
    except Exception:  # noqa: BLE001 - the tables are just being made
        return 0


def test_other_thresholds_change_alerts_and_neither_digest_nor_identity(short, reference, tmp_path):
    profile = tmp_path / "demo.toml"
    text = (ROOT / "flows/profiles/demo.toml").read_text()
    profile.write_text(text + "\n[alerts.rules]\ndrawdown_share = 0.0001\nrule_per_minute = 1\n")
    store = tmp_path / "run.sqlite"
    replay(store, short, MOOD, profile=profile)
    assert digest(store) == reference[2]
    assert rows(store, ALERTS) != rows(reference[0], ALERTS)
    assert rows(store, "SELECT name FROM tallies WHERE key = 'alerts'")  # kept back, and counted
    assert rows(store, "SELECT identity FROM runs") == rows(
        reference[0], "SELECT identity FROM runs"
    )
