"""Real servers on 127.0.0.1 that people's messages are sent to: mail, and a webhook."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosmtpd.controller import Controller

from tests.servers.process import free_port


def until(true, seconds=30.0):
    """Wait until `true()` is."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


class Webhook:
    """An HTTP server; `answer` is the status it gives, `delay` how long it takes to."""

    def __init__(self, port=0):
        self.taken = []  # (monotonic time, JSON) that was answered with 200
        self.asked = 0
        self.answer = 200
        self.delay = 0.0
        self.answers = threading.Event()  # while it is not set, nobody gets to hear of it
        self.answers.set()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.asked += 1
                status = hook.answer
                time.sleep(hook.delay)
                if status == 200:
                    hook.taken.append((time.monotonic(), json.loads(body)))
                hook.answers.wait()
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def url(self, path="hook"):
        return f"json://127.0.0.1:{self.port}/{path}"

    @property
    def bodies(self):
        return [message["message"] for _, message in self.taken]

    @property
    def titles(self):
        return [message["title"] for _, message in self.taken]


class _Box:
    def __init__(self):
        self.letters = []

    async def handle_DATA(self, server, session, envelope):
        self.letters.append(envelope.content.decode())
        return "250 OK"


class Mail:
    """An SMTP server; `letters` is what came."""

    def __enter__(self):
        self.box = _Box()
        self.port = free_port()
        self.controller = Controller(self.box, hostname="127.0.0.1", port=self.port)
        self.controller.start()
        return self

    def __exit__(self, *_):
        self.controller.stop()

    @property
    def letters(self):
        return self.box.letters

    def url(self):
        return f"mailto://127.0.0.1:{self.port}/?from=engine@example.com&to=ops@example.com&mode=insecure"
