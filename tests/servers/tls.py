"""TLS before a server that speaks none.

    with Tls(server.port, context) as proxy:
        client = connect(port=proxy.port, ...)

A thread a connection, each ended and joined when the proxy ends, also in the midst of a handshake.
"""

import contextlib
import select
import socket
from threading import Thread

CHUNK = 65_536
LEAVE = 10.0  # seconds for a connection to end


class Tls:
    """A proxy whose clients speak TLS, with a server's `ssl.SSLContext`."""

    def __init__(self, target, context):
        """Stand before the port `target` of 127.0.0.1, which may be set later."""
        self.target = target
        self.context = context
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.accepting = Thread(target=self._accept, name="tls", daemon=True)
        self.threads = []
        self.sockets = []

    def __enter__(self):
        self.accepting.start()
        return self

    def __exit__(self, *_):
        self.listening.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self.accepting.join(LEAVE)
        self.listening.close()
        for each in self.sockets:
            with contextlib.suppress(OSError):  # it has gone already
                # Of the plain socket: the TLS one's own would change what its thread works with.
                socket.socket.shutdown(each, socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(LEAVE)

    def _accept(self):
        with contextlib.suppress(OSError):  # ended
            while True:
                taken, _ = self.listening.accept()
                client = self.context.wrap_socket(
                    taken, server_side=True, do_handshake_on_connect=False
                )
                self.sockets.append(client)
                thread = Thread(target=self._serve, args=(client,), name="tls", daemon=True)
                self.threads.append(thread)
                thread.start()

    def _serve(self, client):
        with client, contextlib.suppress(OSError):  # either has gone, or no handshake was made
            client.do_handshake()
            with socket.create_connection(("127.0.0.1", self.target)) as server:
                self.sockets.append(server)
                while _carried(client, server):
                    pass


def _carried(client, server):
    """Carry what is there in either direction; tell whether both go on."""
    ready = [client] if client.pending() else select.select([client, server], [], [])[0]
    for source, to in ((client, server), (server, client)):
        if source in ready:
            chunk = source.recv(CHUNK)
            if not chunk:
                return False
            to.sendall(chunk)
    return True
