"""TLS in front of a PostgreSQL server that was built without it, as its protocol begins it.

The client asks with eight bytes, is answered `S`, and shakes hands; what follows is passed on.
"""

import contextlib
import socket
import socketserver
import ssl
import threading

_ASKED = bytes.fromhex("0000000804d2162f")  # SSLRequest


class _Handler(socketserver.BaseRequestHandler):
    def handle(self):
        if self.request.recv(len(_ASKED), socket.MSG_WAITALL) != _ASKED:
            return
        self.request.sendall(b"S")
        with contextlib.suppress(OSError):  # refused by the client, or cut by either
            shielded = self.server.context.wrap_socket(self.request, server_side=True)
            with shielded, socket.create_connection(("127.0.0.1", self.server.to_port)) as inner:
                back = threading.Thread(target=_pass_on, args=(inner, shielded))
                back.start()
                _pass_on(shielded, inner)
                back.join()


def _pass_on(source, target):
    with contextlib.suppress(OSError):
        while received := source.recv(65_536):
            target.sendall(received)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


class _Proxy(socketserver.ThreadingTCPServer):
    def __init__(self, to_port, context):
        self.to_port, self.context = to_port, context
        super().__init__(("127.0.0.1", 0), _Handler)


@contextlib.contextmanager
def tls_before(to_port, certificate):
    """Yield the port on which the server at `to_port` is reached over TLS.

    `certificate` is one that trustme issued.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    with _Proxy(to_port, context) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield proxy.server_address[1]
        finally:
            proxy.shutdown()
            thread.join()
