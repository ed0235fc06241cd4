"""The hot tier on real servers that fail, and on those that want a person."""

import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import trustme

from connectors.secrets import Secret
from connectors.sinks.redis_writer import RedisSettings, RedisWriter
from connectors.sinks.writers import StoreDown, StoreRefused
from operators.messages import SECOND
from tests.hot_tier import closes, hot, listening, once_each, rows, stream, until, writing
from tests.servers.redis import redis_server
from tests.servers.tls import Tls
from tests.servers.toxic import Toxic
from tests.stores import TS, signal

HOUR = 3600 * SECOND


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def own(tmp_path):
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
def client(shared):
    with shared.client() as made:
        yield made


# Servers that fail


def test_a_server_that_is_not_there_is_down_and_found_once_it_starts(tmp_path):
    server = redis_server(tmp_path)
    with closing(RedisWriter(RedisSettings(port=server.port))) as writer:
        with pytest.raises(StoreDown, match="cannot be reached"):
            writer.connect()
        with pytest.raises(StoreDown, match="not connected"):
            writer.write(rows(signal()))
        with server:
            writer.connect()
            writer.write(rows(signal()))
            with server.client() as client:
                assert len(hot(client, writer)) == 1


def test_what_was_written_outlasts_a_crash_of_the_server(own):
    written = rows(*closes(100))
    with writing(own.port) as writer:
        writer.write(written[:300])
        own.kill()
        with pytest.raises(StoreDown):
            writer.write(written[300:])
        with pytest.raises(StoreDown):
            writer.connect()
        own.start()
        writer.connect()
        with own.client() as client:
            assert once_each(client, writer, written[:300])
            writer.write(written[200:])
            assert once_each(client, writer, written)


def test_a_reply_that_is_lost_costs_nothing_and_doubles_nothing(shared, client):
    written = rows(*closes(50))
    with Toxic(shared.port) as proxy, writing(proxy.port) as writer:
        writer.write(written[:1])  # the server knows the scripts now
        newest = writer._newest
        writer._newest = lambda *given: (newest(*given), proxy.mute())
        with listening(client, writer) as heard, ThreadPoolExecutor(1) as pool:
            writes = pool.submit(writer.write, written)
            until(lambda: len(stream(client, writer)) == len(written))
            proxy.cut()
            with pytest.raises(StoreDown, match="cannot be reached"):
                writes.result()
            proxy.heal()
            writer.connect()
            writer.write(written)

        assert once_each(client, writer, written)
        assert len(heard) == len(written) - 1


def test_a_server_that_halts_is_down_after_the_timeout(own):
    with writing(own.port, timeout_seconds=0.5) as writer, own.client() as client:
        writer.write(rows(*closes(1)))
        own.halt()
        with pytest.raises(StoreDown, match="cannot be reached"):
            writer.write(rows(*closes(2)))
        own.go_on()
        until(client.ping)
        writer.connect()
        writer.write(rows(*closes(2)))

        assert once_each(client, writer, rows(*closes(2)))


def test_a_full_memory_is_down_until_there_is_room(own):
    with writing(own.port) as writer, own.client() as client:
        writer.write(rows(*closes(1)))
        used = client.info("memory")["used_memory"]
        client.config_set("maxmemory", used + (1 << 20))  # some of what follows is taken
        written = rows(*closes(2000))
        with pytest.raises(StoreDown, match="takes nothing now"):
            writer.write(written)
        assert 0 < len(stream(client, writer)) < len(written)
        client.config_set("maxmemory", "0")
        writer.connect()
        writer.write(written)

        assert once_each(client, writer, written)


def test_signals_can_be_dropped_from_a_full_memory(own):
    with writing(own.port) as writer, own.client() as client:
        writer.write(rows(*closes(100)))
        client.config_set("maxmemory", "1kb")

        writer.tidy(TS + 2 * HOUR)

        assert once_each(client, writer, [])


def test_a_server_that_follows_another_is_down_until_it_leads(own):
    with writing(own.port) as writer, own.client() as client:
        client.replicaof("127.0.0.1", 1)
        with pytest.raises(StoreDown, match="takes nothing now"):
            writer.write(rows(signal()))
        writer.connect()  # the layout can be read
        client.replicaof("NO", "ONE")
        writer.write(rows(signal()))

        assert once_each(client, writer, rows(signal()))


def test_a_server_that_cannot_save_to_disk_is_down_until_it_can(tmp_path):
    with (
        redis_server(tmp_path, "--appendonly", "no", "--save", "3600 1") as server,
        writing(server.port) as writer,
        server.client() as client,
    ):
        (tmp_path / "dump.rdb").mkdir()  # where its file should stand
        client.bgsave()
        until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
        with pytest.raises(StoreDown, match="takes nothing now"):
            writer.write(rows(signal()))
        (tmp_path / "dump.rdb").rmdir()
        client.bgsave()
        until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "ok")
        writer.connect()
        writer.write(rows(signal()))

        assert once_each(client, writer, rows(signal()))


def test_a_server_that_loads_its_data_is_down_until_it_has(tmp_path):
    slowly = ("--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024")
    server = redis_server(tmp_path)
    with server, server.client() as client:
        client.mset({f"other:{i}": "x" * 100 for i in range(5000)})
        with writing(server.port, prefix="loaded") as writer:
            writer.write(rows(signal()))
        client.bgrewriteaof()
        until(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0)
    server.line += slowly
    loading = RedisWriter(RedisSettings(port=server.port, prefix="loaded"))
    with server, server.client() as client, closing(loading) as writer:
        with pytest.raises(StoreDown, match="loading"):
            writer.connect()
        client.config_set("key-load-delay", 0)
        until(lambda: client.info("persistence")["loading"] == 0)
        writer.connect()

        assert once_each(client, writer, rows(signal()))


def test_a_server_that_forgot_everything_is_written_on(own):
    with writing(own.port) as writer, own.client() as client:
        writer.write(rows(*closes(1)))
        client.flushall()
        client.script_flush()

        writer.write(rows(*closes(2)))

        assert once_each(client, writer, rows(*closes(2)))


# Servers that want a person


def refused(port, password=None, **given):
    with pytest.raises(StoreRefused) as caught, writing(port, password, **given) as writer:
        writer.write(rows(signal()))
    return str(caught.value)


def test_a_wrong_password_is_refused_and_shown_nowhere(tmp_path):
    with redis_server(tmp_path, password="right-secret") as server:
        for password in (None, Secret("wrong-secret")):
            said = refused(server.port, password)
            assert "password" in said
            assert "secret" not in said
        with writing(server.port, Secret("right-secret")) as writer:
            writer.write(rows(signal()))


def test_a_password_that_a_server_does_not_ask_for_is_refused(shared):
    assert "password" in refused(shared.port, Secret("needless-secret"))


def test_a_user_without_permission_is_refused(shared, client):
    client.acl_setuser(
        "reader", enabled=True, passwords=["+reader-secret"], keys=["*"], commands=["+get"]
    )

    said = refused(shared.port, Secret("reader-secret"), username="reader")

    assert "permission" in said
    assert "secret" not in said


def test_a_database_that_is_not_there_is_refused(shared):
    assert "DB index is out of range" in refused(shared.port, db=99)


def test_another_layout_is_refused_and_left_as_it_is(shared, client):
    client.set("other:layout", "2")

    said = refused(shared.port, prefix="other")

    assert said == (
        f"redis at 127.0.0.1:{shared.port} has layout 2, this engine expects 1: "
        "give another prefix, or delete its keys other:*"
    )
    assert client.keys("other:*") == ["other:layout"]


def test_a_key_of_another_kind_is_refused(shared, client):
    client.set("kinds:signals", "no stream")

    assert "correct its setup" in refused(shared.port, prefix="kinds")


# TLS: the server's build has none, so a proxy before it ends it.


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    made = trustme.CA()
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    made.cert_pem.write_to_path(path)
    return made, str(path)


@pytest.fixture
def tls_port(shared, authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority[0].issue_cert("127.0.0.1").configure_cert(context)
    with Tls(shared.port, context) as proxy:
        yield proxy.port


def test_rows_are_written_over_tls_to_a_server_whose_authority_is_known(
    tls_port, authority, client
):
    with writing(tls_port, tls=True, ca=authority[1]) as writer:
        writer.write(rows(signal()))

        assert once_each(client, writer, rows(signal()))


def test_a_certificate_of_an_unknown_authority_is_refused(tls_port):
    assert "not trusted" in refused(tls_port, tls=True)


def test_a_certificate_of_another_name_is_refused(tls_port, authority):
    assert "not trusted" in refused(tls_port, host="localhost", tls=True, ca=authority[1])


def test_a_missing_file_of_the_authority_is_told(tls_port, tmp_path):
    said = refused(tls_port, tls=True, ca=str(tmp_path / "none.pem"))

    assert said.endswith("cannot be checked, the file given as ca is not there")
