"""Who may do what: every route by every scope and none, keys, sessions, forged requests."""

import socket
import ssl
import time
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice

import httpx2
import pytest
from fastapi.routing import APIRoute

from api.app import describe
from api.keys import DAY, KeyStore, Scope
from api.reader import Reader
from api.routes import (
    alerts,
    book,
    events,
    learning,
    losses,
    market,
    orders,
    session,
    signals,
    system,
)
from tests.api.paced import until
from tests.api.serving import served
from tests.integration import replays

STOP = "/api/v1/control/stop"
WHY = {"reason": "test"}
OPEN = {"/health/live", "/health/ready"}
OPERATE = {f"/control/{name}" for name in ("stop", "resume", "mute", "unmute")}
TELLING = {
    ("POST", "/alerts/silences"),
    ("DELETE", "/alerts/silences/{silence_id}"),
    ("POST", "/alerts/acknowledgements"),
}
ADMIN = {"/control/limits"}
RANKS = {"none": 0, "read": 1, "operate": 2, "admin": 3}
SAMPLES = {"signal_id": "0" * 32, "symbol": "BTCUSDT", "name": "forecast_1s", "order_id": "none",
           "silence_id": "0" * 16}  # fmt: skip


def routes():
    """Yield (method, path, least rank) of every route that needs one."""
    parts = (system, market, signals, book, learning, losses, alerts, orders, session, events)
    for part in parts:
        for route in part.router.routes:
            if not isinstance(route, APIRoute):
                continue
            [method] = route.methods
            path = route.path
            if path == "/session" and method != "GET":
                continue  # how one logs in and out; below
            needed = 0 if path in OPEN else 1
            needed = (
                2
                if path in OPERATE or (method, path) in TELLING
                else 3
                if path in ADMIN
                else needed
            )
            path = path.replace(":path", "")
            yield method, "/api/v1" + path.format(**SAMPLES), needed
    yield "GET", "/metrics", 1
    yield "GET", "/api/v1/openapi.json", 1
    yield "GET", "/", 0


@pytest.fixture(scope="module")
def locked(store, tmp_path_factory):
    """Serve the store to those who have keys."""
    folder = tmp_path_factory.mktemp("locked")
    with served(store, folder, logins_per_minute=10_000) as api:
        api.key("read", "first")
        yield api


@pytest.fixture
def strict(store, tmp_path):
    """Serve the store by the limits that are shipped."""
    with served(store, tmp_path) as api:
        api.key("read", "first")
        yield api


@contextmanager
def login(api, scope="operate", name="ann"):
    """Yield a client with a session, and its token."""
    with api.client() as client:
        answer = client.post("/api/v1/session", json={"key": api.key(scope, name)})
        assert answer.status_code == 201, answer.text
        yield client, answer.json()["csrf"]


@pytest.mark.parametrize("who", RANKS)
def test_every_route_by_every_scope_and_none(locked, who):
    key = None if who == "none" else locked.key(who, f"matrix-{who}")
    wrong = []
    with locked.client(key) as client:
        for method, path, needed in routes():
            body = {} if method == "GET" else {"json": {}}  # refused before it is judged
            with client.stream(method, path, **body) as answer:  # the push does not end
                status = answer.status_code
            expected = 401 if who == "none" else 403
            denied = status in {401, 403}
            if denied != (RANKS[who] < needed) or (denied and status != expected):
                wrong.append((method, path, status))
    assert not wrong


def test_matrix_holds_every_route_that_is_described(locked):
    app = locked_app(locked)
    described = {
        (method.upper(), path)
        for path, methods in describe(app)["paths"].items()
        for method in methods
    }
    tested = {(method, path) for method, path, _ in routes()}
    missing = {
        (method, path)
        for method, path in described
        if (method, path.format(**SAMPLES)) not in tested and "/session" not in path
    }
    assert not missing


def locked_app(api):
    """Return an application of its own, to be described."""
    from api.app import make_app
    from api.server import beside, make_context
    from api.settings import ApiSettings

    return make_app(make_context(ApiSettings(), beside(api.store)), api.keys)


@pytest.mark.parametrize(
    "text",
    [
        "nx_000000000000_" + "A" * 43,
        "nx_short",
        "Ω" * 10,
        "nx_" + "0" * 5000,
    ],
)
def test_wrong_key_is_refused(locked, text):
    with locked.client() as client:
        headers = {"Authorization": b"Bearer " + text.encode()}
        answer = client.get("/api/v1/portfolio", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_key_with_one_letter_changed_is_refused(locked):
    key = locked.key("admin")
    changed = key[:-2] + ("A" if key[-2] != "A" else "B") + key[-1]
    with locked.client(changed) as client:
        assert client.get("/api/v1/portfolio").status_code == 401


def test_expired_and_revoked_keys_are_refused(locked):
    expiring = locked.key("read", "over")
    revoked = locked.key("read", "gone")
    [gone, over] = [
        next(key for key in locked.keys.list() if key.name == name) for name in ("gone", "over")
    ]
    with locked.client(expiring) as one, locked.client(revoked) as two:
        assert one.get("/api/v1/portfolio").status_code == 200
        assert two.get("/api/v1/portfolio").status_code == 200
        locked.keys.revoke(gone.id)
        assert two.get("/api/v1/portfolio").status_code == 401
        locked.keys.rotate(over.id, 0)  # it expires now
        assert one.get("/api/v1/portfolio").status_code == 401


def test_rotated_key_is_good_for_its_grace_alone(tmp_path):
    with KeyStore(tmp_path / "keys") as keys:
        old, key = keys.create("ann", Scope.OPERATE, DAY)
        new, next_key = keys.rotate(key.id, 10**12)
        assert keys.find(old).id == key.id
        assert keys.find(new).scope is Scope.OPERATE
        assert keys.get(key.id).expires <= time.time_ns() + 10**12
        keys.rotate(next_key.id, 0)
        assert keys.find(new) is None


def test_keys_are_kept_as_hashes_in_a_file_for_its_owner(tmp_path):
    path = tmp_path / "keys"
    with KeyStore(path) as keys:
        text, _ = keys.create("ann", Scope.READ, DAY)
    assert text.encode() not in path.read_bytes()
    assert text.split("_", 2)[2].encode() not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0


def test_session_orders_with_its_token_and_only_with_it(locked):
    with login(locked) as (client, token):
        assert client.get("/api/v1/session").json()["via"] == "session"
        assert client.post(STOP, json=WHY).status_code == 403
        forged = {"X-CSRF-Token": "0" * 43}
        assert client.post(STOP, json=WHY, headers=forged).status_code == 403
        answer = client.post(STOP, json=WHY, headers={"X-CSRF-Token": token})
        assert answer.status_code == 202
        assert answer.json()["actor"] == "key:ann"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_site_can_order_nothing_and_not_log_in(locked, client, headers):
    with login(locked) as (browser, token):
        answer = browser.post(STOP, json=WHY, headers={"X-CSRF-Token": token} | headers)
        assert answer.status_code == 403
        body = {"key": locked.key("read")}
        assert browser.post("/api/v1/session", json=body, headers=headers).status_code == 403
    # Where this machine is let in without keys, a page in its browser still is not.
    assert client.post(STOP, json=WHY, headers=headers).status_code == 403


def test_own_origin_may_order(locked):
    own = {"Origin": locked.url, "Sec-Fetch-Site": "same-origin"}
    with login(locked) as (client, token):
        headers = own | {"X-CSRF-Token": token}
        assert client.post(STOP, json=WHY, headers=headers).status_code == 202


def test_order_in_a_form_of_another_site_is_no_order(client):
    answer = client.post(STOP, content=b'{"reason": "x"}', headers={"Content-Type": "text/plain"})
    assert answer.status_code == 422


def test_cookie_is_for_no_script_and_no_other_site(locked):
    with login(locked) as (client, _):
        answer = client.post("/api/v1/session", json={"key": locked.key("read")})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "path=/" in cookie


def test_session_ends_with_logout_and_with_its_key(locked):
    with login(locked, name="bob") as (client, token):
        assert client.delete("/api/v1/session").status_code == 403
        cookies = dict(client.cookies)
        answer = client.delete("/api/v1/session", headers={"X-CSRF-Token": token})
        assert answer.status_code == 204
        with locked.client(cookies=cookies) as again:
            assert again.get("/api/v1/portfolio").status_code == 401
    with login(locked, name="carl") as (client, _):
        [key] = [key for key in locked.keys.list() if key.name == "carl"]
        locked.keys.revoke(key.id)
        assert client.get("/api/v1/portfolio").status_code == 401


def test_logins_are_limited(strict):
    with strict.client() as client:
        statuses = [
            client.post("/api/v1/session", json={"key": "nx_guess"}).status_code for _ in range(12)
        ]
        assert statuses == [401] * 10 + [429] * 2
        # Also with the right key: whoever guesses cannot tell.
        answer = client.post("/api/v1/session", json={"key": strict.key("read")})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0


def test_address_that_tries_wrong_keys_is_listened_to_no_more(strict):
    key = strict.key("read")
    with strict.client("nx_guess") as client:
        statuses = {client.get("/api/v1/portfolio").status_code for _ in range(61)}
        assert statuses == {401, 429}
        good = {"Authorization": f"Bearer {key}"}
        assert client.get("/api/v1/portfolio", headers=good).status_code == 429


def test_requests_of_a_key_are_limited(store, tmp_path):
    with served(store, tmp_path, requests_per_key=5) as api:
        one, other = api.key("read"), api.key("read", "other")
        with api.client(one) as client, api.client(other) as free:
            statuses = [client.get("/api/v1/session").status_code for _ in range(7)]
            assert statuses == [200] * 5 + [429] * 2
            assert free.get("/api/v1/session").status_code == 200


def test_requests_of_an_address_are_limited(store, tmp_path):
    with served(store, tmp_path, requests_per_address=5) as api, api.client() as client:
        answers = [client.get("/api/v1/health/live") for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert answers[-1].headers["content-type"] == "application/problem+json"
    assert answers[-1].headers["retry-after"] == "10"


def test_large_body_is_refused_told_or_not(client):
    answer = client.post(STOP, json={"reason": "x" * 20_000})
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"

    def chunks():
        for _ in range(20):
            yield b"x" * 1000

    assert client.post(STOP, content=chunks()).status_code == 413


def test_connections_of_an_address_are_limited_and_given_back(store, tmp_path):
    with served(store, tmp_path, connections_per_address=3) as api, api.client() as client:
        place = ("127.0.0.1", int(api.url.rpartition(":")[2]))
        with ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(socket.create_connection(place, 10))
            until(lambda: refused(client))
        until(lambda: not refused(client))


def refused(client):
    """Say whether a new connection is closed."""
    try:
        answer = client.get("/api/v1/health/live", headers={"Connection": "close"})
    except httpx2.TransportError:
        return True
    assert answer.status_code == 200
    return False


def test_nobody_is_waited_for_long(store, tmp_path):
    with served(store, tmp_path, patience_seconds=0.3) as api, api.client() as client:
        place = ("127.0.0.1", int(api.url.rpartition(":")[2]))
        head = b"POST /api/v1/control/stop HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        for sent, expected in (
            (b"", b""),
            (b"GET /api/v1/portfolio HTTP/1.1\r\nHost:", b""),
            (head + b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{", b"408"),
        ):
            with socket.create_connection(place, 20) as slow:
                slow.sendall(sent)
                assert slow.recv(100)[9:12] == expected
        # Who listens is not told to hurry.
        with client.stream("GET", "/api/v1/events") as answer:
            told = "".join(islice(answer.iter_text(), 8))
        assert told.count("event: status") >= 2


def test_body_that_trickles_in_is_not_waited_for_either(store, tmp_path):
    head = b"POST /api/v1/session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 16000\r\n\r\n"
    with served(store, tmp_path, patience_seconds=0.5) as api:
        place = ("127.0.0.1", int(api.url.rpartition(":")[2]))
        with socket.create_connection(place, 20) as slow:
            slow.sendall(head)
            slow.settimeout(0.1)  # less than the patience: it never ends between two bytes
            answer = b""
            for _ in range(200):
                with suppress(TimeoutError):
                    answer = slow.recv(100)
                    break
                slow.sendall(b"x")
    assert answer[9:12] == b"408"


def test_those_who_listen_take_no_request_of_others(store, tmp_path):
    with (
        served(store, tmp_path, requests_at_once=4) as api,
        api.client() as client,
        ExitStack() as listeners,
    ):
        for _ in range(5):
            listeners.enter_context(client.stream("GET", "/api/v1/events"))
        assert client.get("/api/v1/health/live").status_code == 200
        assert client.post(STOP, json=WHY).status_code == 202


def test_push_ends_with_the_session(locked):
    with (
        login(locked, name="dora") as (client, token),
        client.stream("GET", "/api/v1/events") as answer,
    ):
        told = answer.iter_lines()
        assert next(told) == "event: hello"
        with locked.client(cookies=dict(client.cookies)) as out:
            ended = out.delete("/api/v1/session", headers={"X-CSRF-Token": token})
            assert ended.status_code == 204
        rest = list(told)  # to its end
    assert rest[-1] == ""


def test_what_nobody_has_foreseen_is_answered_as_any_error(store, tmp_path, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("secret words")

    with served(store, tmp_path) as api, api.client() as client:
        monkeypatch.setattr(Reader, "portfolio", broken)
        answer = client.get("/api/v1/portfolio")
        counted = client.get("/api/v1/metrics").json()["api"]
    assert answer.status_code == 500
    assert answer.json()["title"] == "Internal Server Error"
    assert "secret words" not in answer.text
    assert answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert counted["answers_5xx"] == 1


def test_names_are_the_same_in_capitals(store, tmp_path):
    with served(store, tmp_path, names=("Desk.Example",)) as api, api.client() as client:
        for host in ("desk.example", "DESK.example:8600"):
            assert client.get("/api/v1/run", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "", "127.0.0.1.evil.example"])
def test_request_for_another_host_is_refused(client, host):
    answer = client.get("/api/v1/portfolio", headers={"Host": host})
    assert answer.status_code in ({421} if host else {400, 421})


def test_huge_headers_and_broken_requests_end_nothing(api, client):
    port = int(api.url.rpartition(":")[2])
    for sent in (
        b"GET /api/v1/portfolio HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"\x00\xff\x00\xff\r\n\r\n",
        b"POST /api/v1/control/stop HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
        b"GET /api/v1/signals?symbol=%00%ff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port), 10) as raw:
            raw.sendall(sent)
            raw.settimeout(10)
            head = raw.recv(100)
            assert head.startswith(b"HTTP/1.1 4"), (sent[:80], head)
    assert client.get("/api/v1/health/live").status_code == 200


def test_no_answer_holds_a_key(locked, capfd):
    key = locked.key("read", "canary")
    secret = key.rpartition("_")[2]
    with locked.client(key) as client:
        for path in ("/api/v1/session", "/api/v1/nothing", f"/api/v1/bars/{secret}"):
            answer = client.get(path)
            assert secret not in answer.text.replace(f"/bars/{secret}", "")
        assert secret not in client.post("/api/v1/session", json={"key": [key]}).text
    out, err = capfd.readouterr()
    assert secret not in out + err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "TLS is needed"),
        (["--host", "0.0.0.0", "--tls-cert", "absent.pem"], "give both"),
        (["--tls-cert", "absent.pem", "--tls-key", "absent.pem"], "expected a PEM file"),
    ],
)
def test_start_that_would_be_open_to_others_is_refused(tmp_path, options, words):
    said = replays.nextgen("api", *options, "--keys", tmp_path / "keys", code=2)
    assert words in said
    assert said.count("\n") == 1


def test_tls_without_keys_is_not_enough_off_loopback(tmp_path, certificate):
    options = ["--tls-cert", certificate.cert, "--tls-key", certificate.key]
    keys = ["--keys", tmp_path / "keys"]
    said = replays.nextgen("api", "--host", "0.0.0.0", *options, *keys, code=2)
    assert "API keys are needed" in said


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Return the files of a certificate for 127.0.0.1 and of its key, and its authority."""
    import trustme

    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")

    class Files:
        cert, key, ca = folder / "cert.pem", folder / "key.pem", folder / "ca.pem"

    issued.cert_chain_pems[0].write_to_path(Files.cert)
    issued.private_key_pem.write_to_path(Files.key)
    authority.cert_pem.write_to_path(Files.ca)
    return Files


def test_off_loopback_with_tls_and_keys_is_served_and_cookies_are_for_tls(
    store, tmp_path, certificate
):
    with KeyStore(tmp_path / "api.keys") as keys:
        text, _ = keys.create("ann", Scope.OPERATE, DAY)
    settings = {"host": "0.0.0.0", "certificate": certificate.cert, "key": certificate.key}
    with (
        served(store, tmp_path, names=("127.0.0.1",), **settings) as api,
        httpx2.Client(
            base_url=api.url, verify=ssl.create_default_context(cafile=certificate.ca), timeout=20
        ) as client,
    ):
        assert client.get("/api/v1/portfolio").status_code == 401
        answer = client.post("/api/v1/session", json={"key": text})
        assert answer.status_code == 201
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-nextgen-session=")
        assert "Secure" in cookie
        assert answer.headers["strict-transport-security"]
        assert client.get("/api/v1/portfolio").status_code == 200


def test_keys_command_makes_lists_rotates_and_revokes(tmp_path):
    keys = ["--keys", tmp_path / "keys"]
    text = replays.nextgen("api", "keys", "create", "ann", "--scope", "operate", *keys).strip()
    identity = text.split("_")[1]
    assert identity in replays.nextgen("api", "keys", "list", *keys)
    replays.nextgen("api", "keys", "rotate", identity, *keys)
    replays.nextgen("api", "keys", "revoke", identity, *keys)
    listed = replays.nextgen("api", "keys", "list", *keys)
    assert "revoked" in listed
    assert listed.count("good") == 1
    said = replays.nextgen("api", "keys", "revoke", "none", *keys, code=2)
    assert "there is no key" in said
