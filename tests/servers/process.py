"""A real server in a process of its own: on a free port of 127.0.0.1, ended by its own id."""

import contextlib
import os
import signal
import socket
import subprocess
import time

READY = 60.0  # seconds within which a server must answer


def free_port():
    """Return a port that is free now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Server:
    """A server that can be killed, halted and started again on the same port and data."""

    def __init__(self, line, ready, *, folder, environment=None):
        """Take the command `line`, and `ready()`, which is true once the server answers."""
        self.line = [str(part) for part in line]
        self.ready = ready
        self.folder = folder
        self.environment = {**os.environ, **(environment or {})}
        self.process = None

    def start(self):
        """Start it, and wait until it answers."""
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.line, cwd=self.folder, env=self.environment, stdout=log, stderr=log
            )
        end = time.monotonic() + READY
        while not self._answers():
            said = (self.folder / "server.log").read_text(errors="replace")[-2000:]
            assert self.process.poll() is None, f"{self.line[0]} ended: {said}"
            assert time.monotonic() < end, f"{self.line[0]} does not answer: {said}"
            time.sleep(0.05)
        return self

    def _answers(self):
        with contextlib.suppress(Exception):
            return self.ready()
        return False

    def kill(self):
        """End it as a crash would."""
        self._signal(signal.SIGKILL)
        self.process.wait(30)

    def halt(self):
        """Stop it from running, with its sockets open."""
        self._signal(signal.SIGSTOP)

    def go_on(self):
        """Let it run again."""
        self._signal(signal.SIGCONT)

    def stop(self):
        """End it in order."""
        if self.process is None or self.process.poll() is not None:
            return
        self.go_on()
        self._signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()

    def _signal(self, number):
        if self.process.poll() is None:
            self.process.send_signal(number)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
