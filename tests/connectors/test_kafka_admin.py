import msgspec
import pytest
from confluent_kafka.admin import AdminClient, ConfigResource

from connectors.kafka.admin import ensure_topics, preflight
from connectors.kafka.faults import KafkaError
from connectors.kafka.settings import KafkaSettings, client
from connectors.kafka.topics import TOPICS
from operators.errors import SettingsError
from tests.servers.kafka import Broker, broker


@pytest.fixture(scope="session")
def kafka():
    with broker() as started:
        yield started


NAMES = [topic.name for topic in TOPICS]


def test_missing_topics_are_made_with_their_settings_and_others_left_alone(kafka):
    settings = kafka.settings(partitions=3)

    assert ensure_topics(settings, topics=TOPICS[:2]) == [
        settings.topic(name) for name in NAMES[:2]
    ]
    assert ensure_topics(settings) == [settings.topic(name) for name in NAMES[2:]]
    assert ensure_topics(settings) == []

    preflight(settings, topics=NAMES)
    admin = AdminClient(client(settings, None))
    for topic in TOPICS:
        resource = ConfigResource(ConfigResource.Type.TOPIC, settings.topic(topic.name))
        found = admin.describe_configs([resource])[resource].result(5)
        assert {name: found[name].value for name in topic.config} == topic.config


def test_a_missing_topic_is_named(kafka):
    settings = kafka.settings()
    ensure_topics(settings, topics=TOPICS[:1])
    with pytest.raises(KafkaError, match=rf"expected the topic {settings.prefix}\.signals at "):
        preflight(settings, topics=[TOPICS[0].name, "signals"])


def test_another_number_of_partitions_is_told(kafka):
    settings = kafka.settings(partitions=3)
    ensure_topics(settings)
    more = msgspec.structs.replace(settings, partitions=4)
    with pytest.raises(KafkaError, match=r"expected 4 partitions of .*, found 3: symbols would"):
        preflight(more, topics=["log"])


def test_an_unreachable_broker_is_told_within_seconds(tmp_path):
    server = Broker(tmp_path)
    with pytest.raises(KafkaError, match=r"at 127\.0\.0\.1:\d+ cannot be used: no broker answered"):
        preflight(server.settings())
    with server:
        server.halt()
        with pytest.raises(KafkaError, match="no broker answered within five seconds"):
            ensure_topics(server.settings())
        server.go_on()


def test_an_unknown_host_is_told():
    with pytest.raises(KafkaError, match="the broker's host name is not known"):
        preflight(KafkaSettings(bootstrap="nowhere.invalid:9092"))


def test_a_certificate_that_is_not_there_is_told(tmp_path):
    settings = KafkaSettings(bootstrap="127.0.0.1:1", protocol="SSL", ca=str(tmp_path / "ca.pem"))
    with pytest.raises(KafkaError, match="Kafka cannot be used as configured"):
        preflight(settings)


@pytest.mark.parametrize(("username", "password"), [(None, "secret"), ("me", None)])
def test_a_protocol_with_passwords_needs_one(username, password):
    settings = KafkaSettings(bootstrap="h:1", protocol="SASL_SSL", username=username)
    with pytest.raises(SettingsError, match="needs a user name and a password"):
        preflight(settings, password)


@pytest.mark.parametrize(
    "text",
    [
        b'{"bootstrap":"h:1","partitions":0}',
        b'{"bootstrap":"h:1","replication":0}',
        b'{"bootstrap":"h:1","delivery_seconds":0}',
        b'{"bootstrap":"h:1","protocol":"TLS"}',
        b'{"bootstrap":"h:1","password":"secret"}',
        b"{}",
    ],
)
def test_settings_that_cannot_work_are_refused(text):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=KafkaSettings)
