"""A real API server on a free port, over a store of a real run."""

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from api.keys import DAY, KeyStore, Scope
from api.server import beside, make_server
from api.settings import ApiSettings

READY = 30.0  # seconds


@dataclass
class Served:
    """A server that runs."""

    url: str
    keys: KeyStore
    store: Path

    def client(self, key=None, **options):
        """Return a client, with a key if one is given."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=20.0, **options)

    def key(self, scope, name="ann", lifetime=DAY):
        """Return the text of a new key."""
        return self.keys.create(name, Scope(scope), lifetime)[0]


@contextmanager
def served(store, folder, **settings):
    """Serve `store`; keys are kept in `folder`."""
    with KeyStore(folder / "api.keys") as keys:
        server = make_server(ApiSettings(**{"port": 0} | settings), beside(store), keys)
        thread = threading.Thread(target=server.run, name="api")
        thread.start()
        try:
            end = time.monotonic() + READY
            while not server.started:
                assert thread.is_alive()
                assert time.monotonic() < end
                time.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            scheme = "https" if server.config.is_ssl else "http"
            yield Served(f"{scheme}://127.0.0.1:{port}", keys, Path(store))
        finally:
            server.should_exit = True
            thread.join(READY)
            assert not thread.is_alive()
