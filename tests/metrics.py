"""What a process shows to Prometheus."""

import urllib.request

from prometheus_client.parser import text_string_to_metric_families


def metrics(port):
    """Return each metric's values by its first label; nothing while none answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            label = next(iter(sample.labels.values()), "")
            found.setdefault(sample.name, {})[label] = sample.value
    return found
