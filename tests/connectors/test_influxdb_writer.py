"""InfluxDB's writer against a real server that takes its protocol, and through faults."""

import ssl
from contextlib import contextmanager
from threading import Thread

import pytest
import trustme

from connectors.secrets import Secret
from connectors.sinks.influxdb_writer import LINES, InfluxSettings, InfluxWriter
from connectors.sinks.sqlite import rows_of
from connectors.sinks.writers import RowRefused, StoreDown, StoreRefused
from operators.errors import SettingsError
from operators.messages import SECOND
from tests.drill import until
from tests.servers.tls import Tls
from tests.servers.toxic import Toxic
from tests.servers.victoria_metrics import VictoriaMetrics
from tests.stores import TS, outcome, portfolio, rejection, signal, stored_bar

MS = TS // 1_000_000
TOKEN = "a-token-of-a-test"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with VictoriaMetrics(tmp_path_factory.mktemp("victoria")) as running:
        yield running


@contextmanager
def writing(url, profile="demo", **settings):
    """Give a writer to `url`, closed in the end."""
    made = InfluxWriter(InfluxSettings(url=url, **settings), Secret(TOKEN), profile)
    try:
        yield made
    finally:
        made.close()


def rows(*messages):
    return [row for message in messages for row in rows_of(message)]


def bars(count, symbol="BTCUSDT"):
    return rows(*(stored_bar(symbol, TS + i * SECOND, volume=float(i)) for i in range(count)))


def proxied(proxy, scheme="http"):
    return f"{scheme}://127.0.0.1:{proxy.port}"


def numbers(server, profile, name, **tags):
    """Return {time in ms: number} of the one series of that name and those tags."""
    (found,) = (
        points
        for (series, its), points in server.series(profile).items()
        if series == name and tags.items() <= dict(its).items()
    )
    return found


def test_numbers_read_back_as_they_were_written(server):
    # With no more digits than VictoriaMetrics keeps; test_influxdb_points has those of all floats.
    told = signal("BTCUSDT", score=-0.123456789, confidence=0.25, price=60_123.45)
    with writing(server.url, "numbers") as writer:
        writer.write(
            rows(
                told,
                signal("ETH USD,=", score=0.5),
                stored_bar(close=101.25, volume=0.001),
                portfolio(equity=1_000_123.5, var_95=None),
                outcome(told, realised_return=-0.0015),
            )
        )
    found = server.series("numbers")

    def number(name, **tags):
        return numbers(server, "numbers", name, **tags)

    assert number("signal_score", symbol="BTCUSDT", interval="1s") == {MS: -0.123456789}
    assert number("signal_price", symbol="BTCUSDT") == {MS: 60_123.45}
    assert number("signal_action", symbol="BTCUSDT") == {MS: 1}
    assert number("signal_forecast_weight", symbol="BTCUSDT") == {MS: 0.6}
    assert number("signal_score", symbol="ETH USD,=") == {MS: 0.5}
    assert number("bar_close", symbol="BTCUSDT") == {MS: 101.25}
    assert number("bar_volume") == {MS: 0.001}
    assert number("portfolio_equity") == {MS: 1_000_123.5}
    assert number("outcome_realised_return") == {MS: -0.0015}
    assert all(dict(tags)["simulated"] == "0" for _, tags in found)
    assert not [name for name, _ in found if name == "portfolio_var_95"]


def test_writing_again_changes_nothing(server):
    with writing(server.url, "again") as writer:
        writer.write(bars(20))
        once = server.series("again")
        writer.write(bars(20))
        writer.write(bars(7))

    assert len(numbers(server, "again", "bar_volume")) == 20
    assert server.series("again") == once


def test_large_batch_is_sent_in_several_requests(server):
    with writing(server.url, "large") as writer:
        writer.write(bars(2 * LINES + 1))

    held = numbers(server, "large", "bar_volume")
    assert held == {MS + i * 1000: float(i) for i in range(2 * LINES + 1)}


def test_rows_of_no_measurement_are_passed_over(server):
    with writing(server.url, "none") as writer:
        writer.write(rows(rejection()))
        writer.write([])
        writer.tidy(TS)

    assert server.series("none") == {}


def test_bad_row_is_refused_before_anything_is_sent(server):
    with writing(server.url, "poison") as writer:
        with pytest.raises(RowRefused):
            writer.write([*bars(3), *rows(signal("BTC\nUSDT"))])
        assert server.series("poison") == {}
        writer.write(bars(3))

    assert len(numbers(server, "poison", "bar_close")) == 3


def test_what_a_server_stopped_in_order_has_taken_is_there_again(tmp_path):
    with VictoriaMetrics(tmp_path) as server, writing(server.url) as writer:
        writer.write(bars(5))
        server.stop()
        with pytest.raises(StoreDown):
            writer.write(bars(10)[5:])
        with pytest.raises(StoreDown, match="does not answer"):
            writer.connect()
        server.start()
        writer.write(bars(10)[5:])

        assert len(numbers(server, "demo", "bar_close")) == 10


def test_killed_server_has_every_point_once_after_writing_again(tmp_path):
    with VictoriaMetrics(tmp_path) as server, writing(server.url) as writer:
        writer.write(bars(5))
        server.kill()  # what came within its last seconds is gone, so all is written again
        with pytest.raises(StoreDown):
            writer.write(bars(10))
        server.start()
        writer.connect()
        writer.write(bars(10))

        assert numbers(server, "demo", "bar_volume") == {MS + i * 1000: i for i in range(10)}


def test_cut_connection_is_made_anew(server):
    with Toxic(server.port) as proxy, writing(proxied(proxy), "cut") as writer:
        writer.write(bars(1))
        proxy.refuse()
        with pytest.raises(StoreDown):
            writer.write(bars(2))
        with pytest.raises(StoreDown):
            writer.connect()
        proxy.heal()
        writer.connect()
        writer.write(bars(2))

    assert len(numbers(server, "cut", "bar_close")) == 2


def test_write_whose_answer_was_lost_is_written_again_as_the_same_points(server):
    with Toxic(server.port) as proxy, writing(proxied(proxy), "unheard") as writer:
        writer.connect()
        proxy.mute()
        failed = []

        def write():
            try:
                writer.write(bars(5))
            except StoreDown as error:
                failed.append(error)

        thread = Thread(target=write)
        thread.start()
        until(lambda: proxy.holding)  # the server has answered
        held = server.series("unheard")
        proxy.cut()
        thread.join(10)
        proxy.heal()
        assert len(failed) == 1
        writer.write(bars(5))

    assert len(numbers(server, "unheard", "bar_close")) == 5
    assert server.series("unheard") == held


def test_server_that_says_nothing_is_down_after_the_timeout(server):
    with (
        Toxic(server.port) as proxy,
        writing(proxied(proxy), "stalled", timeout_seconds=0.3) as writer,
    ):
        writer.connect()
        proxy.stall()
        with pytest.raises(StoreDown, match="does not answer"):
            writer.write(bars(1))
        proxy.heal()
        writer.write(bars(1))

    assert len(numbers(server, "stalled", "bar_close")) == 1


def test_tls_with_an_authority_of_ones_own(server, tmp_path):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with Tls(server.port, context) as proxy:
        url = proxied(proxy, "https")
        with writing(url, "tls", ca=str(tmp_path / "ca.pem")) as writer:
            writer.write(bars(3))
        with writing(url) as writer, pytest.raises(StoreRefused, match="is not trusted"):
            writer.connect()
        with writing(proxied(proxy)) as writer, pytest.raises(StoreDown):
            writer.connect()  # in plain text to a port that speaks TLS

    assert len(numbers(server, "tls", "bar_close")) == 3


def test_certificate_for_another_name_is_refused(server, tmp_path):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("metrics.example").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with (
        Tls(server.port, context) as proxy,
        writing(proxied(proxy, "https"), ca=str(tmp_path / "ca.pem")) as writer,
        pytest.raises(StoreRefused, match="is not trusted"),
    ):
        writer.connect()


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_file_of_the_authority_that_cannot_be_read_is_refused(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with (
        writing("https://127.0.0.1:1", ca=str(path)) as writer,
        pytest.raises(StoreRefused, match="expected certificates in PEM"),
    ):
        writer.connect()


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8086", "ftp://host", "http://me:word@host:8086", "http://", "http://h/?token=word"],
)
def test_url_of_another_form_is_refused_without_being_shown(url):
    with pytest.raises(SettingsError) as refused:
        InfluxWriter(InfluxSettings(url=url), Secret(), "demo")
    assert "word" not in str(refused.value)


def test_profile_that_is_no_tag_is_refused():
    with pytest.raises(SettingsError, match="give the profile another name"):
        InfluxWriter(InfluxSettings(), Secret(), "a\nb")
