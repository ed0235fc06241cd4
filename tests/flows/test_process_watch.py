"""What is watched beside the stream: it lasts, is told, and is over."""

from contextlib import closing

import pytest

from connectors.alerts.records import active_alerts, read_alerts
from connectors.sinks.store import open_store
from flows.process_watch import Load, ProcessWatch, keep_watch, loads
from operators import metrics
from operators.alert_settings import ProcessRules
from operators.errors import StoreError
from operators.messages import SECOND, AlertState

RULES = ProcessRules(lasting_seconds=20.0, clear_seconds=10.0, window_seconds=30.0)
FIRING, RESOLVED = AlertState.FIRING, AlertState.RESOLVED


@pytest.fixture(autouse=True)
def _timers():
    metrics.reset()
    yield
    metrics.reset()


def told(alerts):
    return [(alert.rule, alert.state) for alert in alerts]


class Machine:
    """Processors that are used to a share of our choice."""

    def __init__(self):
        self.busy = self.all = 0.0
        self.share = 0.1

    def read(self):
        self.all += 10.0
        self.busy += 10.0 * self.share
        return Load(self.busy, self.all), Load(0.0, self.all)


def looks(watch, times):
    return {at: told(found) for at in times if (found := watch.look(at * SECOND))}


def test_processors_that_are_used_up_for_long_are_told_and_their_end():
    machine = Machine()
    watch = ProcessWatch(RULES, machine.read)
    assert looks(watch, range(0, 60, 5)) == {}
    machine.share = 0.97
    assert looks(watch, range(60, 120, 5)) == {80: [("cpu", FIRING)]}
    machine.share = 0.2
    assert looks(watch, range(120, 180, 5)) == {125: [("cpu", RESOLVED)]}


def test_a_burst_is_no_news():
    machine = Machine()
    watch = ProcessWatch(RULES, machine.read)
    for at in range(0, 300, 5):
        machine.share = 1.0 if at % 30 < 15 else 0.1
        assert watch.look(at * SECOND) == []


def add(name, milliseconds, count=20):
    for _ in range(count):
        metrics.timer(name).add(round(milliseconds * 1e6))


def test_a_latency_over_its_floor_is_told_of_the_last_window_only():
    machine = Machine()
    watch = ProcessWatch(RULES, machine.read)
    found = {}
    for at in range(0, 300, 5):
        add("clock_to_decision", 2_000 if 100 <= at < 160 else 50)
        found |= looks(watch, [at])
    (began, begin), (ended, end) = found.items()
    assert begin == [("clock_to_decision", FIRING)]
    assert end == [("clock_to_decision", RESOLVED)]
    assert 120 <= began <= 125
    assert 190 <= ended <= 205  # when the window had passed it, and ten seconds


def test_few_durations_say_nothing():
    watch = ProcessWatch(RULES, Machine().read)
    for at in range(0, 100, 5):
        add("received_to_checked", 900, count=5 if at < 40 else 0)
        assert watch.look(at * SECOND) == []


def test_timers_that_began_anew_are_not_negative():
    watch = ProcessWatch(RULES, Machine().read)
    add("clock_to_decision", 50, 500)
    watch.look(0)
    metrics.reset()
    add("clock_to_decision", 50, 100)
    assert watch.look(5 * SECOND) == []


def test_this_machine_can_be_read():
    machine, own = loads()
    assert 0 < machine.busy < machine.all
    assert 0 < own.busy < own.all


def stored(path, read):
    with closing(open_store(path, readonly=True)) as store:
        return read(store)


def keep(watch, path, times):
    for at in times:
        keep_watch(watch, path, at * SECOND, simulated=False)


def test_what_fired_before_a_restart_is_over_after_it(tmp_path):
    path, machine = tmp_path / "run.sqlite", Machine()
    machine.share = 0.97
    keep(ProcessWatch(RULES, machine.read), path, range(0, 60, 5))
    (begun,) = stored(path, active_alerts)
    machine.share = 0.2
    again = ProcessWatch(RULES, machine.read)
    keep(again, path, range(60, 70, 5))
    assert stored(path, active_alerts) == [begun]  # it has the time to clear
    keep(again, path, range(70, 80, 5))
    assert stored(path, active_alerts) == []
    assert {row["alert_id"] for row in stored(path, read_alerts)} == {begun["alert_id"]}


def test_what_fires_on_after_a_restart_is_not_told_again(tmp_path):
    path, machine = tmp_path / "run.sqlite", Machine()
    machine.share = 0.97
    keep(ProcessWatch(RULES, machine.read), path, range(0, 60, 5))
    keep(ProcessWatch(RULES, machine.read), path, range(60, 120, 5))
    assert len(stored(path, read_alerts)) == 1


def refusing(path, *, state):
    """Let the store take no alert of this state, as if its disk were full."""
    with closing(open_store(path)) as store:
        store.execute(
            f"CREATE TRIGGER full BEFORE INSERT ON process_alerts WHEN new.state = '{state}' "
            "BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
        )


def taking(path):
    with closing(open_store(path)) as store:
        store.execute("DROP TRIGGER full")


def test_an_alert_that_could_not_be_stored_is_told_later_and_so_is_its_end(tmp_path):
    path, machine = tmp_path / "run.sqlite", Machine()
    watch = ProcessWatch(RULES, machine.read)
    machine.share = 0.97
    refusing(path, state="firing")
    keep(watch, path, range(0, 25, 5))
    with pytest.raises(StoreError, match="could not be written"):
        keep(watch, path, [25])
    taking(path)
    keep(watch, path, [30])
    (begun,) = stored(path, active_alerts)
    assert begun["since"] == 5 * SECOND  # the first measurement
    machine.share = 0.2
    refusing(path, state="resolved")
    keep(watch, path, [35])
    with pytest.raises(StoreError, match="could not be written"):
        keep(watch, path, [40])
    taking(path)
    keep(watch, path, range(45, 60, 5))
    assert stored(path, active_alerts) == []
