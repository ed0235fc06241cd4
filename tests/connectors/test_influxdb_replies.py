"""What InfluxDB's writer makes of each reply.

VictoriaMetrics knows no tokens, no buckets and no rates, and takes every line. So these replies
come from a small HTTP server of the test, in the words of InfluxDB's documentation.
"""

import gzip
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest

from connectors.secrets import Secret
from connectors.sinks.influxdb_points import line_of
from connectors.sinks.influxdb_writer import LINES, InfluxSettings, InfluxWriter
from connectors.sinks.sqlite import rows_of
from connectors.sinks.writers import RowRefused, StoreDown, StoreRefused
from operators.messages import SECOND
from tests.stores import TS, signal

TOKEN = "a-token-of-a-test"
NOTHING = "\n"  # what a connection is tried with


class Replying(HTTPServer):
    """Answer with the replies given, one by one, then with 204; keep what came."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies = []  # (status, message, headers)
        self.came = []  # (headers, query, body)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = gzip.decompress(self.rfile.read(int(self.headers["Content-Length"]))).decode()
        address = urlsplit(self.path)
        assert address.path == "/api/v2/write"
        self.server.came.append((self.headers, parse_qs(address.query), body))
        replies = self.server.replies
        status, message, headers = replies.pop(0) if replies else (204, "", {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if message:
            self.wfile.write(json.dumps({"code": "of a test", "message": message}).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Replying() as made:
        thread = Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@contextmanager
def writing(server):
    url = f"http://127.0.0.1:{server.server_port}"
    settings = InfluxSettings(url=url, org="trading", bucket="signals")
    made = InfluxWriter(settings, Secret(TOKEN), "demo")
    try:
        yield made
    finally:
        made.close()


def rows(count=1, **fields):
    made = (signal(ts_close=TS + i * SECOND, **fields) for i in range(count))
    return [row for one in made for row in rows_of(one)]


def test_request_is_what_the_write_api_asks_for(server):
    with writing(server) as writer:
        writer.write(rows(2, score=1 / 3))
    (_, _, tried), (headers, query, body) = server.came

    assert tried == NOTHING
    assert headers["Authorization"] == f"Token {TOKEN}"
    assert headers["Content-Encoding"] == "gzip"
    assert query == {"org": ["trading"], "bucket": ["signals"], "precision": ["ns"]}
    assert body.splitlines() == [line_of(*row, "demo") for row in rows(2, score=1 / 3)]


def test_no_request_holds_more_than_5000_lines(server):
    with writing(server) as writer:
        writer.write(rows(LINES + 1))

    assert [body.count("\n") + 1 for _, _, body in server.came[1:]] == [LINES, 1]


@pytest.mark.parametrize(
    ("status", "kind", "advice"),
    [
        (400, RowRefused, "unable to parse"),
        (413, RowRefused, ""),
        (422, RowRefused, ""),
        (401, StoreRefused, "give a token that may write to the bucket 'signals'"),
        (403, StoreRefused, "give a token that may write to the bucket 'signals'"),
        (404, StoreRefused, "make the bucket 'signals' in the organisation 'trading'"),
        (302, StoreRefused, "check that influxdb.url leads to InfluxDB"),
        (405, StoreRefused, "check that influxdb.url leads to InfluxDB"),
        (408, StoreDown, "tried again"),
        (429, StoreDown, "tried again"),
        (500, StoreDown, "tried again"),
        (503, StoreDown, "tried again"),
        (507, StoreDown, "tried again"),
    ],
)
def test_reply_to_a_batch_says_what_to_do(server, status, kind, advice):
    with writing(server) as writer:
        writer.connect()
        server.replies = [(status, f"unable to parse; you sent {TOKEN}", {"Retry-After": "3600"})]
        with pytest.raises(kind, match=f"answered {status}") as told:
            writer.write(rows())
        writer.write(rows())

    assert advice in str(told.value)
    assert TOKEN not in str(told.value)
    assert server.came[-1][2] == server.came[1][2]


@pytest.mark.parametrize(("status", "tries"), [(401, 2), (429, 2), (503, 2), (400, 1)])
def test_connection_is_tried_anew_after_all_but_a_bad_row(server, status, tries):
    with writing(server) as writer:
        writer.connect()
        server.replies = [(status, "", {})]
        with pytest.raises((RowRefused, StoreDown, StoreRefused)):
            writer.write(rows())
        writer.connect()

    assert [body for _, _, body in server.came].count(NOTHING) == tries


@pytest.mark.parametrize(
    ("status", "kind"), [(401, StoreRefused), (404, StoreRefused), (503, StoreDown)]
)
def test_connecting_says_what_is_wrong_before_anything_is_written(server, status, kind):
    server.replies = [(status, "", {})]
    with writing(server) as writer:
        with pytest.raises(kind, match=f"answered {status}"):
            writer.connect()
        writer.connect()
        writer.connect()

    assert [body for _, _, body in server.came] == [NOTHING, NOTHING]


def test_server_that_refuses_a_request_without_points_is_no_influxdb(server):
    server.replies = [(400, "unsupported path", {})]
    with writing(server) as writer, pytest.raises(StoreRefused, match="leads to InfluxDB"):
        writer.write(rows())
