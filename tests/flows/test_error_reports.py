"""What Sentry is told of broken code: where it broke, and nothing of what it worked on."""

import gzip
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from connectors.secrets import Secret
from flows.error_reports import report_errors, scrubbed
from flows.secret_lookup import secret_file
from operators.errors import SettingsError

pytest.importorskip("sentry_sdk")

CANARY = "c4n4ry-7hX9q2Lm"
AUTHOR = "Jane Q. Author"
PROGRAM = """
import logging, sys, threading
from connectors.secrets import Secret
from flows.error_reports import report_errors
from flows.logs import log_to_standard_error
from operators.errors import StoreError

log_to_standard_error()
assert report_errors()
key, author = Secret("c4n4ry-7hX9q2Lm"), "Jane Q. Author"
logging.error("a post of %s with %s", author, key.reveal())

def inner(headline, key):
    local = key.reveal() + headline
    raise KeyError(headline + key.reveal())

def thread():
    inner(author, key)

def outer():
    try:
        inner("by " + author, key)
    except KeyError as error:
        raise StoreError("the store refused apikey=" + key.reveal()) from error

thread_ = threading.Thread(target=thread)
thread_.start()
thread_.join()
outer()
"""


class Collector:
    """An HTTP server that keeps what is posted, unpacked."""

    def __init__(self):
        self.posted = posted = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                packed = self.headers.get("Content-Encoding") == "gzip"
                posted.append((gzip.decompress(body) if packed else body).decode())
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.dsn = f"http://publickey@127.0.0.1:{self.server.server_port}/1"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("NEXTGEN_SENTRY_DSN", raising=False)


def events(collector):
    """Return the events of all envelopes: each is lines of JSON."""
    lines = [json.loads(line) for text in collector.posted for line in text.splitlines() if line]
    return [line for line in lines if "exception" in line]


def test_what_breaks_is_told_by_place_and_type_and_no_canary_leaves(home):
    with Collector() as collector:
        secret_file().set("SENTRY_DSN", Secret(collector.dsn))
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False,
            env=os.environ,
        )  # fmt: skip
    told = events(collector)
    everything = "\n".join(collector.posted)

    assert done.returncode == 1
    assert len(told) == 2  # the thread's, and the end of the program
    types = [[each["type"] for each in event["exception"]["values"]] for event in told]
    assert types == [["KeyError"], ["KeyError", "StoreError"]]
    assert told[1]["exception"]["values"][1]["value"] == "the store refused apikey=***"
    assert told[1]["exception"]["values"][0]["value"] == ""
    frames = told[1]["exception"]["values"][0]["stacktrace"]["frames"]
    assert [frame["function"] for frame in frames] == ["outer", "inner"]
    for hidden in (CANARY, AUTHOR, "headline", os.uname().nodename, str(Path.cwd())):
        assert hidden not in everything
    assert not any(word in everything for word in ('"vars"', "breadcrumb", '"extra"', '"user"'))


def test_without_a_dsn_nothing_is_told(home):
    assert report_errors() is False


def test_a_dsn_that_is_none_is_refused_without_showing_it(home, monkeypatch):
    monkeypatch.setenv("NEXTGEN_SENTRY_DSN", f"http://{CANARY}")
    with pytest.raises(SettingsError, match="is no DSN") as error:
        report_errors()
    assert CANARY not in str(error.value)


def test_only_what_is_listed_is_sent():
    event = {
        "event_id": "e", "level": "error", "timestamp": "t", "message": CANARY, "user": CANARY,
        "request": {"headers": CANARY}, "extra": {"x": CANARY}, "tags": {"x": CANARY},
        "breadcrumbs": {"values": [CANARY]}, "server_name": CANARY, "contexts": {"x": CANARY},
        "exception": {"values": [{
            "type": "KeyError", "module": "builtins", "value": CANARY, "mechanism": CANARY,
            "stacktrace": {"frames": [{
                "function": "f", "lineno": 3, "vars": {"x": CANARY}, "abs_path": CANARY,
                "context_line": CANARY, "pre_context": [CANARY],
            }]},
        }]},
    }  # fmt: skip
    assert CANARY not in json.dumps(scrubbed(event, None))
    assert scrubbed({}, None)["exception"] == {"values": []}
