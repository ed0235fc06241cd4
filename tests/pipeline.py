"""A run through Kafka, each part of it in a process of its own: begun, stopped, killed, again."""

import json
import signal
import subprocess
import time

import msgspec

from connectors.kafka.admin import ensure_topics
from tests.integration.replays import command, nextgen

INGEST = "ingest"
PORTFOLIO = "portfolio"
ARCHIVE = "archive"
IDLE = 4  # seconds without a row after which archive ends: all is there
LEAVE = 10.0  # seconds within which a process told to stop has ended
END = 300.0


class Pipeline:
    """Processes by name: `ingest`, `portfolio`, `archive`; any other is the shards of one.

    All results go to the SQLite file `store`, and to the stores that `tiers` runs, if given.
    """

    def __init__(self, folder, broker, *inputs, profile="demo", tiers=None, speed=None, **kafka):
        """Make the topics; nothing runs yet.

        `inputs` may hold further options of ingest; `speed` is a multiple of real time.
        """
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.inputs = inputs
        self.profile = profile
        self.speed = speed
        self.settings = broker.settings(**{"partitions": 8} | kafka)
        self.services = self._file("services.toml", self.settings, tiers)
        self.secrets = {} if tiers is None else tiers.secrets
        self.store = folder / "archive.sqlite"
        self.bare = folder / "bare"  # where shards and the portfolio run, and leave nothing
        self.bare.mkdir()
        self.processes = {}
        self.begun = {}  # by name: when it was started last
        ensure_topics(self.settings)

    def changed(self, **kafka):
        """Return a file of services with other settings of Kafka."""
        return self._file("changed.toml", msgspec.structs.replace(self.settings, **kafka))

    def _file(self, name, settings, tiers=None):
        told = msgspec.to_builtins(settings)
        lines = [f"{key} = {json.dumps(value)}" for key, value in told.items() if value is not None]
        path = self.folder / name
        stores = "" if tiers is None else tiers.file.read_text()
        path.write_text("\n".join(("[kafka]", *lines, stores)))
        return path

    def line(self, name):
        """Return the arguments of a process."""
        paced = () if self.speed is None else ("--speed", self.speed)
        own = {
            INGEST: (
                *self.inputs, *paced, "--profile", self.profile, "--folder", self.folder / "in",
            ),
            PORTFOLIO: (),
            ARCHIVE: (
                "--store", self.store, "--folder", self.folder / "refused", "--idle-seconds", IDLE,
            ),
        }  # fmt: skip
        verb = (name, *own[name]) if name in own else ("run", "--shards", name)
        return (*verb, "--services", self.services)

    def start(self, *names):
        """Start processes; they write to `folder/NAME.log`."""
        for name in names:
            line, how = command(*self.line(name), **self.secrets)
            if name not in {INGEST, ARCHIVE}:
                how["cwd"] = self.bare
                how["env"] |= {"HOME": str(self.bare), "TMPDIR": str(self.bare)}
            with self._log(name).open("ab") as log:
                self.processes[name] = subprocess.Popen(line, stdout=log, stderr=log, **how)
            self.begun[name] = time.monotonic()

    def _log(self, name):
        return self.folder / f"{name}.log"

    def said(self, name):
        """Return what a process wrote."""
        return self._log(name).read_text()

    def running(self, name):
        """Say whether a process runs; one that failed fails the test."""
        code = self.processes[name].poll()
        assert code in {None, 0}, f"{name} ended with {code}: {self.said(name)}"
        return code is None

    def kill(self, name):
        """End a process as a crash would."""
        self.processes[name].kill()
        self.processes[name].wait(LEAVE)

    def stop(self, name):
        """Tell a process to stop, and return how many seconds it took; it must end well."""
        begin = time.monotonic()
        self.processes[name].send_signal(signal.SIGTERM)
        code = self.processes[name].wait(LEAVE)
        assert code == 0, f"{name} ended with {code}: {self.said(name)}"
        return time.monotonic() - begin

    def wait(self, *names, code=0):
        """Wait until processes have ended by themselves."""
        limit = time.monotonic() + END
        for name in names:
            found = self.processes[name].wait(max(limit - time.monotonic(), 0.0))
            assert found == code, f"{name} ended with {found}: {self.said(name)}"

    def finish(self):
        """Wait until the input is used up, and all that was made of it is in the stores."""
        self.wait(*(name for name in self.processes if name != ARCHIVE))
        if not self.running(ARCHIVE):  # too soon
            self.start(ARCHIVE)
        self.wait(ARCHIVE)
        assert not list(self.bare.iterdir()), "a shard or the portfolio has left something on disk"

    def refused(self, *arguments, services=None):
        """Return the sentence with which a command refuses to run."""
        return nextgen(*arguments, "--services", services or self.services, code=2, **self.secrets)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait(LEAVE)


def numbers_of(name):
    """Return the partitions of the process that runs the shards `name`, as "0-3,6"."""
    ends = [part.partition("-") for part in name.split(",")]
    return {n for first, _, last in ends for n in range(int(first), int(last or first) + 1)}
