"""TLS by a proxy before the broker, which speaks none; of passwords only that they are refused.

The broker keeps users in memory and makes none once it asks for passwords, so that nobody can
log in: what follows a good password is not tried here.
"""

import contextlib
import ssl
import tempfile
from pathlib import Path

import pytest
import trustme

from connectors.kafka.admin import ensure_topics, preflight
from connectors.kafka.faults import KafkaError
from connectors.kafka.settings import KafkaSettings
from tests.kafka_logs import logged, read, send
from tests.servers.kafka import Broker
from tests.servers.tls import Tls
from tests.support import tick


@contextlib.contextmanager
def speaking_tls(folder, names=("127.0.0.1",)):
    """Give a broker behind TLS, and the file of the authority that signed its certificate."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    ca = folder / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    with Tls(0, context) as proxy, Broker(folder, reached_at=proxy.port) as own:
        proxy.target = own.port
        yield own, str(ca)


def test_a_log_is_written_and_read_over_tls(tmp_path):
    with speaking_tls(tmp_path) as (own, ca):
        settings = own.settings(protocol="SSL", ca=ca)
        ensure_topics(settings)
        preflight(settings, topics=["log"])
        send(settings, logged([tick(trade_id=n) for n in range(500)]))
        found, _ = read(settings, shards=(0,))
        assert [message.trade_id for _, message in found] == list(range(500))


def test_a_certificate_of_another_authority_is_refused(tmp_path):
    with speaking_tls(tmp_path) as (own, _):
        other = tmp_path / "other.pem"
        trustme.CA().cert_pem.write_to_path(other)
        with pytest.raises(KafkaError, match=r"no TLS connection could be made; .*'ca'"):
            preflight(own.settings(protocol="SSL", ca=str(other)))


def test_a_certificate_of_another_host_is_refused(tmp_path):
    with (
        speaking_tls(tmp_path, names=("kafka.example",)) as (own, ca),
        pytest.raises(KafkaError, match="no TLS connection could be made"),
    ):
        preflight(own.settings(protocol="SSL", ca=ca))


def test_tls_to_a_broker_that_speaks_none_is_told(tmp_path):
    with Broker(tmp_path) as own, pytest.raises(KafkaError, match="check 'bootstrap', 'protocol'"):
        preflight(own.settings(protocol="SSL"))


class _Guarded(Broker):
    """A broker that asks for a password before it tells anything."""

    def _answers_metadata(self):
        settings = KafkaSettings(
            bootstrap=self.bootstrap, protocol="SASL_PLAINTEXT", username="nobody"
        )
        with pytest.raises(KafkaError, match="refused the user name or the password"):
            preflight(settings, "none")
        return True


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_wrong_password_is_told_and_not_shown(mechanism, capfd):
    with (
        tempfile.TemporaryDirectory() as folder,
        _Guarded(Path(folder), "--authentication") as own,
    ):
        settings = own.settings(protocol="SASL_PLAINTEXT", username="trader", mechanism=mechanism)
        with pytest.raises(KafkaError, match="refused the user name or the password") as error:
            preflight(settings, "hunter2-hunter2")
    said = capfd.readouterr()
    assert "hunter2" not in str(error.value) + repr(error.value.__cause__) + said.out + said.err
