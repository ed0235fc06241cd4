"""How the feeds do, for Prometheus and for people; read from `FeedHealth`, counted nowhere else."""

from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from connectors.feeds import Feed, Inbox
from connectors.selector import Selector

_UP = {"up": 1.0, "quiet": 1.0}


class FeedCollector(Collector):
    """Expose counters, gauges and states of `feeds`, their inbox and their selector."""

    def __init__(self, feeds: Sequence[Feed], inbox: Inbox, selector: Selector) -> None:
        """Take what is asked at each scrape."""
        self.feeds = feeds
        self.inbox = inbox
        self.selector = selector

    def collect(self) -> Iterable[Any]:
        """Yield the metric families."""
        events = CounterMetricFamily(
            "nextgen_feed_events", "What happened to a feed, by event.", labels=("feed", "event")
        )
        gauges = GaugeMetricFamily(
            "nextgen_feed_gauge",
            "What a feed measures; names end in a unit.",
            labels=("feed", "name"),
        )
        up = GaugeMetricFamily("nextgen_feed_up", "1 while a feed is connected.", labels=("feed",))
        for feed in self.feeds:
            health = feed.health
            up.add_metric((health.feed,), _UP.get(health.state, 0.0))
            for name, count in list(health.counts.items()):
                events.add_metric((health.feed, name), count)
            for name, value in list(health.gauges.items()):
                gauges.add_metric((health.feed, name), value)
        shed = CounterMetricFamily(
            "nextgen_inbox_shed", "Messages a full inbox did not take.", labels=("feed", "kind")
        )
        for (name, kind), count in list(self.inbox.shed.items()):
            shed.add_metric((name, kind), count)
        yield from (events, gauges, up, shed)
        yield GaugeMetricFamily(
            "nextgen_inbox_messages", "Messages that wait for the dataflow.", value=len(self.inbox)
        )
        yield GaugeMetricFamily(
            "nextgen_inbox_bytes",
            "Bytes that wait for the dataflow.",
            value=self.inbox.waiting_bytes,
        )
        yield CounterMetricFamily(
            "nextgen_feed_switches", "Changes of a symbol's feed.", value=self.selector.switches
        )
        yield CounterMetricFamily(
            "nextgen_feed_standby_messages",
            "Messages of feeds that stood by.",
            value=self.selector.standby,
        )
