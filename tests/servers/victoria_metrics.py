"""VictoriaMetrics, which takes InfluxDB's v2 writes and gives back what it holds.

It comes as a Debian package. It keeps about twelve digits of a number, and takes a point in the
same millisecond as another for the same point.
"""

import json
import os
import shutil
import urllib.parse
import urllib.request

import pytest

from tests.servers.process import Server, free_port

PATIENCE = 10.0


class VictoriaMetrics(Server):
    """A server on `port`, with its data in `folder`."""

    def __init__(self, folder):
        """Prepare it; skip the test where the package is absent, or fail if it must be there."""
        self.port = free_port()
        line = (
            _binary(),
            f"-storageDataPath={folder / 'data'}",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            "-retentionPeriod=100y",
            "-dedup.minScrapeInterval=1ms",  # a point written twice is one
            "-loggerLevel=WARN",
        )
        super().__init__(line, lambda: self.get("/health") == b"OK", folder=folder)

    @property
    def url(self):
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def get(self, path, **query):
        """Return the body of its answer."""
        asked = f"{self.url}{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
            return answer.read()

    def series(self, profile, since=0, until=None):
        """Return what it holds of `profile`: {(name, tags): {time in ms: number}}.

        From `since` to `until`, both in ms and both included; until now where none is given.
        Names are `measurement_field`. A point it holds twice counts twice: it fails.
        """
        self.get("/internal/force_flush")  # what was written shows within seconds otherwise
        asked = {"match[]": f'{{profile="{profile}"}}', "start": since / 1000}
        if until is not None:
            asked["end"] = until / 1000
        lines = self.get("/api/v1/export", **asked).splitlines()
        found = {}
        for one in map(json.loads, lines):
            its = one["metric"]
            name = its.pop("__name__")
            points = dict(zip(one["timestamps"], one["values"], strict=True))
            assert len(points) == len(one["values"])
            assert found.setdefault((name, tuple(sorted(its.items()))), points) is points
        return found


def _binary():
    found = shutil.which("victoria-metrics")
    if found is None:
        why = "the Debian package victoria-metrics is not installed"
        if os.environ.get("NEXTGEN_REQUIRE_SERVERS") == "1":
            pytest.fail(f"{why}, and NEXTGEN_REQUIRE_SERVERS=1 asks for it")
        pytest.skip(why)
    return found
