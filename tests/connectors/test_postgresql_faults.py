"""The cold store where something fails: who must act, and that nothing is lost or doubled."""

import contextlib
import hashlib
import threading
import time

import psycopg
import pytest
import trustme
from msgspec.structs import replace as changed

from connectors.secrets import Secret
from connectors.sinks.postgresql_connection import PostgresqlSettings, connect
from connectors.sinks.postgresql_migrations import migrate
from connectors.sinks.postgresql_reader import read_rows
from connectors.sinks.postgresql_writer import REPEATS, PostgresqlWriter
from connectors.sinks.sqlite import rows_of
from connectors.sinks.writers import RowRefused, StoreDown, StoreRefused
from operators.messages import Tally
from tests.servers.postgresql import PostgresqlServer, password
from tests.servers.postgresql_tls import tls_before
from tests.servers.process import free_port
from tests.servers.toxic import Toxic
from tests.stores import TS, portfolio, signal, stored_bar

SECRET = "never-shown-anywhere"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def server():
    with PostgresqlServer() as started:
        yield started


@pytest.fixture(scope="module")
def tls_port(server, authority):
    """Where the server is reached over TLS: the packed one is built without it."""
    with tls_before(server.port, authority.issue_cert("127.0.0.1")) as port:
        yield port


@pytest.fixture
def own_server():
    with PostgresqlServer() as started:
        yield started


def writing(settings, secret=None):
    return contextlib.closing(PostgresqlWriter(settings, secret or password()))


def rows(*messages):
    return [row for message in messages for row in rows_of(message)]


def bars(*symbols):
    return rows(*(stored_bar(symbol) for symbol in symbols))


def symbols(settings, table="bars", at=0):
    with contextlib.closing(connect(settings, password())) as connection:
        return [row[at] for row in read_rows(connection, table)]


def until(true, what, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def in_thread(function, *arguments):
    """Call it in a thread; return the thread, and the list in which its error will stand."""
    failed = []

    def call():
        try:
            function(*arguments)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            failed.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    return thread, failed


def test_a_deadlock_is_written_again(server):
    settings = server.migrated()
    batch = rows(signal("A"), stored_bar("GATE"), Tally(key="all", name="bars", count=2))
    with writing(settings) as writer:
        writer.write([*batch[:-1], *rows(Tally(key="all", name="bars", count=1))])
        with (
            server.connect(settings.database) as gate,
            server.connect(settings.database) as other,
        ):
            gate.execute("BEGIN")
            gate.execute("SELECT 1 FROM bars FOR UPDATE")
            other.execute("BEGIN")
            # Only the writer looks for deadlocks, so it is the writer that is ended.
            other.execute("SET LOCAL deadlock_timeout = '1h'")
            other.execute("SELECT 1 FROM tallies FOR UPDATE")
            work, failed = in_thread(writer.write, batch)
            until(
                lambda: server.waiting(settings.database, 'INTO "bars"'), "the writer holds signals"
            )
            wanted, hindered = in_thread(other.execute, "SELECT 1 FROM signals FOR UPDATE")
            until(
                lambda: server.waiting(settings.database, "signals FOR"), "the other waits for it"
            )
            gate.execute("COMMIT")  # the writer goes on to tallies, which the other holds
            wanted.join()
            assert "deadlock detected" in server.said()
            other.execute("COMMIT")
            work.join()

    assert failed == hindered == []
    assert server.sql("SELECT count FROM tallies", settings.database) == [(2,)]
    assert symbols(settings) == ["GATE"]


def answering(server, settings, state):
    """Have the database answer every bar with the SQLSTATE `state`, and count how often."""
    for statement in (
        "CREATE SEQUENCE asked",
        "CREATE OR REPLACE FUNCTION answer() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"PERFORM nextval('asked'); RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$",
        "CREATE TRIGGER answers BEFORE INSERT ON bars FOR EACH ROW EXECUTE FUNCTION answer()",
    ):
        server.sql(statement, settings.database)


@pytest.mark.parametrize(
    ("state", "expected", "asked"),
    [
        ("40001", StoreDown, 1 + REPEATS),  # serialization failure
        ("40P01", StoreDown, 1 + REPEATS),  # deadlock
        ("53100", StoreDown, 1),  # disk full
        ("53200", StoreDown, 1),  # out of memory
        ("57014", StoreDown, 1),  # took longer than we wait
        ("25006", StoreDown, 1),  # a standby, or a primary that became one
        ("58030", StoreDown, 1),  # input or output failed
        ("42501", StoreRefused, 1),  # no permission
        ("XX001", StoreRefused, 1),  # damaged data
        ("22003", RowRefused, 1),  # out of range
        ("23505", RowRefused, 1),  # a constraint
        ("54000", RowRefused, 1),  # longer than an index takes
    ],
)
def test_the_servers_answer_says_who_must_act(server, state, expected, asked):
    settings = server.migrated()
    with writing(settings) as writer:
        writer.connect()
        answering(server, settings, state)

        with pytest.raises(expected):
            writer.write(bars("A"))

        assert server.sql("SELECT last_value FROM asked", settings.database) == [(asked,)]
        assert symbols(settings) == []
        server.sql("DROP TRIGGER answers ON bars", settings.database)
        writer.connect()
        writer.write(bars("A"))
    assert symbols(settings) == ["A"]


def test_a_key_too_long_for_its_index_is_refused(server):
    settings = server.migrated()
    # No digest repeats, so that the index cannot compress them.
    long = "".join(hashlib.sha256(str(n).encode()).hexdigest() for n in range(200))
    with writing(settings) as writer:
        with pytest.raises(RowRefused, match="index"):
            writer.write(bars(long))
        writer.write(bars("A"))
    assert symbols(settings) == ["A"]


def test_a_session_that_the_server_ends_is_begun_anew(server):
    settings = server.migrated()
    with writing(settings) as writer:
        writer.write(bars("A"))
        server.sql(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            f"WHERE datname = '{settings.database}'"
        )
        with pytest.raises(StoreDown, match="tried again"):
            writer.write(bars("B"))
        writer.connect()
        writer.write(bars("B"))
    assert symbols(settings) == ["A", "B"]


def test_a_server_that_is_killed_loses_nothing_it_took(own_server):
    settings = own_server.migrated()
    with writing(settings) as writer:
        writer.write(bars("A"))
        own_server.kill()
        with pytest.raises(StoreDown):
            writer.write(bars("B"))
        with pytest.raises(StoreDown, match=r"127\.0\.0\.1"):
            writer.connect()

        own_server.start()
        writer.connect()
        writer.write(bars("A", "B"))
        assert symbols(settings) == ["A", "B"]

        # In the middle of a transaction: all of it or nothing, and never twice.
        batch = [*bars("C", "D"), *rows(portfolio())]
        with (
            contextlib.suppress(psycopg.OperationalError),
            own_server.connect(settings.database) as gate,
        ):
            gate.execute("BEGIN")
            gate.execute("LOCK TABLE bars IN SHARE MODE")
            work, failed = in_thread(writer.write, batch)
            until(
                lambda: own_server.waiting(settings.database, 'INTO "bars"'),
                "it waits for the lock",
            )
            own_server.kill()
            work.join()
        assert [type(error) for error in failed] == [StoreDown]
        own_server.start()
        assert symbols(settings) == ["A", "B"]
        assert symbols(settings, "portfolio") == []
        writer.connect()
        writer.write(batch)
        assert symbols(settings) == ["A", "B", "C", "D"]
        assert symbols(settings, "portfolio") == [TS]


def test_a_server_that_is_halted_is_not_waited_for(own_server):
    settings = own_server.migrated(patience_seconds=0.5)
    with writing(settings) as writer:
        writer.write(bars("A"))
        own_server.halt()
        with pytest.raises(StoreDown):
            writer.write(bars("B"))
        with pytest.raises(StoreDown):
            writer.connect()
        own_server.go_on()
        writer.connect()
        writer.write(bars("B"))
    assert symbols(settings) == ["A", "B"]


def test_a_commit_whose_reply_is_lost_is_written_again_without_harm(server):
    settings = server.migrated()
    batch = [*bars("A", "B"), *rows(portfolio(), Tally(key="all", name="bars", count=2))]
    for statement in (  # a commit that waits until the test lets it go on
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$",
        "CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON tallies DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION wait()",
    ):
        server.sql(statement, settings.database)
    with (
        Toxic(server.port) as proxy,
        writing(changed(settings, port=proxy.port)) as writer,
        server.connect(settings.database) as other,
    ):
        writer.write(bars("A"))
        other.execute("SELECT pg_advisory_lock(1)")
        work, failed = in_thread(writer.write, batch)
        until(lambda: server.waiting(settings.database, "COMMIT"), "the commit waits")
        proxy.mute()
        other.execute("SELECT pg_advisory_unlock(1)")
        until(lambda: symbols(settings, "tallies"), "it is committed")
        until(lambda: proxy.holding, "the reply is on its way")
        proxy.cut()
        work.join()
        proxy.heal()
        assert [type(error) for error in failed] == [StoreDown]

        writer.connect()
        writer.write(batch)
    assert symbols(settings) == ["A", "B"]
    assert symbols(settings, "portfolio") == [TS]
    assert symbols(settings, "tallies", at=2) == [2]


def test_a_lock_that_someone_holds_is_not_waited_for(server):
    settings = server.migrated(patience_seconds=0.2)
    with writing(settings) as writer:
        writer.write(bars("A"))
        with server.connect(settings.database) as other, other.transaction():
            other.execute("LOCK TABLE bars")
            with pytest.raises(StoreDown):
                writer.write(bars("B"))
        writer.connect()
        writer.write(bars("B"))
    assert symbols(settings) == ["A", "B"]


def test_too_many_connections_are_tried_again(own_server):
    settings = own_server.migrated()
    own_server.sql("CREATE ROLE plain LOGIN PASSWORD 'of-the-tests'")
    own_server.sql(f"ALTER DATABASE {settings.database} CONNECTION LIMIT 0")

    with pytest.raises(StoreDown, match="too many connections"):
        PostgresqlWriter(changed(settings, user="plain"), password()).connect()


def test_no_server_at_all_is_down():
    for host in ("127.0.0.1", "nowhere.invalid"):
        settings = PostgresqlSettings(host=host, port=free_port())
        with pytest.raises(StoreDown) as caught:
            PostgresqlWriter(settings, Secret(SECRET)).connect()
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({}, "password"),
        ({"user": "nobody-known"}, "password"),
        ({"user": "plain", "database": "no_such_database"}, "does not exist"),
        ({"user": "no_login"}, "not permitted to log in"),
    ],
)
def test_a_wrong_login_is_for_a_person(server, wrong, words):
    settings = changed(server.migrated(), **wrong)
    for role in ("plain LOGIN", "no_login NOLOGIN"):
        with contextlib.suppress(Exception):  # made by the case before
            server.sql(f"CREATE ROLE {role} PASSWORD '{SECRET}'")
    secret = Secret(SECRET) if wrong else Secret(SECRET + "-wrong")

    with pytest.raises(StoreRefused, match=words) as caught:
        PostgresqlWriter(settings, secret).connect()

    assert SECRET not in f"{caught.value}{caught.value.__cause__}"
    with pytest.raises(StoreRefused):
        migrate(settings, secret)


def test_no_password_is_for_a_person(server):
    with pytest.raises(StoreRefused, match="no password supplied"):
        PostgresqlWriter(server.migrated(), Secret()).connect()


def test_a_role_without_permission_is_for_a_person(server):
    settings = server.migrated()
    with contextlib.suppress(Exception):
        server.sql(f"CREATE ROLE plain LOGIN PASSWORD '{SECRET}'")
    plain = changed(settings, user="plain")

    with pytest.raises(StoreRefused, match="permission denied"):
        PostgresqlWriter(plain, Secret(SECRET)).connect()
    with pytest.raises(StoreRefused, match="permission denied"):
        migrate(changed(server.settings(), user="plain"), Secret(SECRET))

    # It may see which layout there is, but not write.
    server.sql("GRANT SELECT ON alembic_version TO plain", settings.database)
    with (
        writing(plain, Secret(SECRET)) as writer,
        pytest.raises(StoreRefused, match="permission denied"),
    ):
        writer.write(bars("A"))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (None, "no tables of this engine, this engine expects 0002: run 'nextgen store migrate'"),
        ("0000", "layout 0000, this engine expects 0002: run 'nextgen store migrate'"),
        ("9999", "a later version of the engine made it"),
    ],
)
def test_another_layout_is_refused(server, made, words):
    settings = server.settings()
    if made is not None:
        migrate(settings, password())
        server.sql(f"UPDATE alembic_version SET version_num = '{made}'", settings.database)

    with writing(settings) as writer:
        with pytest.raises(StoreRefused) as caught:
            writer.connect()
        assert words in str(caught.value)
        with pytest.raises(StoreRefused):
            writer.write(bars("A"))


def test_tables_that_are_gone_are_for_a_person(server):
    settings = server.migrated()
    with writing(settings) as writer:
        writer.write(bars("A"))
        server.sql("DROP TABLE bars", settings.database)
        with pytest.raises(StoreRefused, match="does not exist"):
            writer.write(bars("A"))
        with pytest.raises(StoreRefused, match="does not exist"):
            writer.tidy(TS)


def test_tidying_a_store_that_is_down_says_so(own_server):
    settings = own_server.migrated()
    with writing(settings) as writer:
        writer.write(bars("A"))
        own_server.kill()
        with pytest.raises(StoreDown):
            writer.tidy(TS)


def test_a_certificate_of_the_given_authority_is_trusted(server, tls_port, authority, tmp_path):
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    settings = changed(server.settings(), port=tls_port, tls=True, ca=str(ca))
    migrate(settings, password())

    with contextlib.closing(connect(settings, password())) as connection:
        assert connection.pgconn.ssl_in_use
    with writing(settings) as writer:
        writer.write(bars("A"))
    assert symbols(settings) == ["A"]


@pytest.mark.parametrize("given", ["another", "none", "missing", "name"])
def test_a_certificate_that_proves_nothing_is_for_a_person(
    server, tls_port, authority, tmp_path, given
):
    ca = tmp_path / "ca.pem"
    if given != "missing":
        (authority if given == "name" else trustme.CA()).cert_pem.write_to_path(ca)
    settings = changed(
        server.settings(),
        port=tls_port,
        host="localhost" if given == "name" else "127.0.0.1",  # what the certificate is for
        tls=True,
        ca=None if given == "none" else str(ca),
    )

    with pytest.raises(StoreRefused, match=r"certificate|does not match"):
        PostgresqlWriter(settings, password()).connect()


def test_a_server_without_tls_is_refused_where_tls_is_asked_for(own_server, authority, tmp_path):
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)

    with pytest.raises(StoreRefused, match="does not support SSL"):
        PostgresqlWriter(own_server.settings(tls=True, ca=str(ca)), password()).connect()


def test_closing_never_raises(own_server):
    writer = PostgresqlWriter(own_server.migrated(), password())
    writer.close()
    writer.connect()
    own_server.kill()
    writer.close()
    writer.close()
