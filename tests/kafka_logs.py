"""Write to a broker and read back what it holds, for tests of Kafka."""

import time
from threading import Event

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main
from confluent_kafka import Consumer, TopicPartition

from connectors.kafka import wire
from connectors.kafka.settings import client
from connectors.kafka.sink import KafkaSink
from connectors.kafka.source import KafkaSource, entry_of


def until(true, seconds=30.0):
    """Wait until `true()` is."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def send(settings, entries):
    """Send entries by a flow of their own."""
    flow = Dataflow("send")
    entered = op.input("in", flow, TestingSource([("", entry) for entry in entries], 100))
    op.output("out", entered, KafkaSink(settings))
    run_main(flow)


def held(settings, topic, partition=0):
    """Return the entries that a partition holds."""
    consumer = Consumer(
        client(settings, None)
        | {"group.id": "held", "enable.partition.eof": True, "auto.offset.reset": "error"}
    )
    consumer.assign([TopicPartition(settings.topic(topic), partition, 0)])
    entries = []
    end = time.monotonic() + 30
    while time.monotonic() < end:
        message = consumer.poll(0.1)
        if message is None:
            continue
        if message.error() is not None:
            assert message.error().name() == "_PARTITION_EOF"
            consumer.close()
            return entries
        entries.append(entry_of(message))
    raise AssertionError("no end was reached")


def read(settings, shards=(0, 1), **given):
    """Return what a flow gets of the log up to its end marks, and the source."""
    found = []
    source = KafkaSource(
        settings, topic="log", shards=shards, **{"stop": Event(), "until_end": True} | given
    )
    flow = Dataflow("read")
    op.output("out", op.input("in", flow, source), TestingSink(found))
    run_main(flow)
    return found, source


def logged(messages, partition=0, *, ends=True):
    """Return messages as entries of a log's partition, closed by an end mark."""
    entries = [wire.outgoing(message, "log", partition=partition) for message in messages]
    return [*entries, wire.end("log", partition)] if ends else entries
