"""Polling is polite, bounded and quiet about what it asks."""

import asyncio
import gzip
import io
import logging
import ssl
import traceback
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import msgspec
import pytest
import structlog
import trustme
from aiohttp import web

from connectors.feeds import FeedHealth
from connectors.secrets import Secret
from connectors.sources.polling import Hosts, Poller, PollError
from connectors.sources.retry_after import retry_after
from operators.messages import SECOND
from tests.pages import NOW, QUICK, Pages

CANARY = "CANARY-key-51c2e8"


def settings(**changes):
    return msgspec.structs.replace(QUICK, **changes)


def scenario(answers, steps, given=QUICK, **options):
    """Run `steps(pages, poller)`; return (what they return, pages, health)."""
    health = FeedHealth("test")

    async def run():
        async with Pages(answers) as pages, Poller(given, health, **options) as poller:
            return await steps(pages, poller), pages

    found, pages = asyncio.run(run())
    return found, pages, health


async def failure(poller, url, *arguments):
    """Return how asking fails."""
    with pytest.raises(PollError) as failed:
        await poller.get(url, *arguments)
    return failed.value


def test_unchanged_answer_is_not_sent_again():
    def page(request):
        if request.headers.get("If-None-Match") == '"v1"':
            assert request.headers["If-Modified-Since"] == "yesterday"
            return {"status": 304}
        return {"body": b"news", "headers": {"ETag": '"v1"', "Last-Modified": "yesterday"}}

    async def steps(pages, poller):
        url = f"{pages.base}/feed"
        answers = [await poller.get(url, {"q": 1}) for _ in range(2)]
        answers.append(await poller.get(url, {"q": 2}))  # another address: no validator yet
        poller.forget(url, {"q": 1})
        return [*answers, await poller.get(url, {"q": 1})]

    answers, _, health = scenario({"/feed": page}, steps)

    assert [answer.body for answer in answers] == [b"news", b"", b"news", b"news"]
    assert [answer.not_modified for answer in answers] == [False, True, False, False]
    assert health.counts["requests"] == 4
    assert health.counts["bytes"] == 12


def test_query_of_the_address_and_parameters_are_both_sent():
    async def steps(pages, poller):
        await poller.get(f"{pages.base}/p?a=1", {"b": 2, "key": Secret(CANARY)})

    _, pages, _ = scenario({"/p": b"x"}, steps)

    assert pages.asked[0][1] == {"a": "1", "b": "2", "key": CANARY}


def test_passing_failure_is_tried_again_and_counted():
    async def steps(pages, poller):
        return await poller.get(f"{pages.base}/p")

    answer, pages, health = scenario({"/p": [{"status": 503}, {"status": 500}, b"x"]}, steps)

    assert answer.body == b"x"
    assert pages.count("/p") == 3
    assert (health.counts["retries"], health.counts["requests_failed"]) == (2, 0)


def test_refusal_is_not_tried_again():
    async def steps(pages, poller):
        return await failure(poller, f"{pages.base}/p")

    error, pages, health = scenario({"/p": {"status": 403, "body": b"why"}}, steps)

    assert (error.status, error.answer.body, error.retry_after) == (403, b"why", None)
    assert pages.count("/p") == 1
    assert health.counts["requests_failed"] == 1


@pytest.mark.parametrize(("status", "count"), [(429, "rate_limited"), (418, "banned")])
def test_long_retry_after_goes_to_the_caller_and_the_host_is_left_alone(status, count):
    async def steps(pages, poller):
        first = await failure(poller, f"{pages.base}/p")
        second = await failure(poller, f"{pages.base}/other")
        return first, second

    answers = {"/p": {"status": status, "headers": {"Retry-After": "120"}}, "/other": b"x"}
    (first, second), pages, health = scenario(answers, steps)

    assert (first.status, first.retry_after) == (status, 120.0)
    assert 119 < second.retry_after <= 120
    assert pages.count("/other") == 0
    assert health.counts[count] == 1


def test_short_retry_after_is_waited_for():
    async def steps(pages, poller):
        loop = asyncio.get_running_loop()
        before = loop.time()
        answer = await poller.get(f"{pages.base}/p")
        return answer.body, loop.time() - before

    answers = {"/p": [{"status": 429, "headers": {"Retry-After": "0.04"}}, b"x"]}
    (body, seconds), _, _ = scenario(answers, steps)

    assert body == b"x"
    assert seconds >= 0.04


def test_retry_after_as_a_date_is_by_the_venues_clock():
    venue = datetime(2031, 1, 1, tzinfo=UTC)
    until = format_datetime(venue + timedelta(seconds=90), usegmt=True)

    assert retry_after({"retry-after": until, "date": format_datetime(venue, usegmt=True)}) == 90
    now = int(venue.timestamp()) * SECOND
    assert retry_after({"retry-after": until}, lambda: now) == 90
    assert retry_after({"retry-after": until, "date": until}) == 0
    assert retry_after({"retry-after": until}) == 60  # nothing to compare with
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "nan"}) is None
    assert retry_after({"retry-after": "-5"}) == 0
    assert retry_after({"retry-after": "1e12"}) == 3 * 86_400


def test_retry_after_as_a_date_is_obeyed():
    def page(_):
        date = datetime(2031, 1, 1, tzinfo=UTC)
        later = date + timedelta(seconds=90)
        headers = {"Date": format_datetime(date, usegmt=True)}
        return {
            "status": 503,
            "headers": headers | {"Retry-After": format_datetime(later, usegmt=True)},
        }

    async def steps(pages, poller):
        return await failure(poller, f"{pages.base}/p")

    assert scenario({"/p": page}, steps)[0].retry_after == 90.0


def test_host_is_asked_no_more_often_than_its_limit_by_all_feeds_together():
    times = []

    def page(_):
        times.append(asyncio.get_running_loop().time())
        return b"x"

    async def run():
        given, hosts = settings(requests=3, per_seconds=0.2), Hosts()
        healths = [FeedHealth("a"), FeedHealth("b")]
        async with (
            Pages({"/p": page}) as pages,
            Poller(given, healths[0], hosts=hosts) as one,
            Poller(given, healths[1], hosts=hosts) as other,
        ):
            await asyncio.gather(*(p.get(f"{pages.base}/p") for p in (one, other) * 4))
        return healths

    healths = asyncio.run(run())
    assert len(times) == 8
    # With 50 ms to spare in each window, the venue never sees more than 3 in 0.2 s.
    assert all(later - first > 0.2 for first, later in zip(times, times[3:], strict=False))
    assert sum(health.counts["throttled"] for health in healths) > 0


def test_breaker_keeps_away_from_a_failing_host_and_tries_again():
    async def steps(pages, poller):
        url = f"{pages.base}/p"
        reasons = [(await failure(poller, url)).reason for _ in range(4)]
        asked = pages.count("/p")
        pages.answers["/p"] = b"well"
        await asyncio.sleep(0.06)  # the breaker's rest
        return reasons, asked, (await poller.get(url)).body

    given = settings(attempts=1, breaker_failures=2)
    (reasons, asked, body), _, health = scenario({"/p": {"status": 500}}, steps, given)

    assert reasons == ["status 500", "status 500", "breaker open", "breaker open"]
    assert asked == 2
    assert body == b"well"
    assert (health.counts["breaker_opened"], health.gauges["breaker_open"]) == (1, 0)


def test_refusals_do_not_open_the_breaker():
    async def steps(pages, poller):
        return [(await failure(poller, f"{pages.base}/p")).reason for _ in range(4)]

    given = settings(attempts=1, breaker_failures=2)
    assert scenario({"/p": {"status": 404}}, steps, given)[0] == ["status 404"] * 4


async def endless(request):
    response = web.StreamResponse()
    await response.prepare(request)
    try:
        while True:
            await response.write(b"x" * 10_000)
    except ConnectionError:
        return response


async def dripping(request):
    response = web.StreamResponse()
    await response.prepare(request)
    try:
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.01)
    except ConnectionError:
        return response


def torn(request):
    request.transport.abort()
    return b""


GZIP = {"Content-Encoding": "gzip"}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"x" * 1001, "body above 1000 bytes"),
        ({"body": gzip.compress(b"\0" * 50_000_000), "headers": GZIP}, "body above 1000 bytes"),
        (endless, "body above 1000 bytes"),
        ({"body": gzip.compress(b"y" * 500)[:-9], "headers": GZIP}, "body cut short"),
        ({"body": b"not packed", "headers": GZIP}, "body damaged in its packing"),
        ({"body": b"x", "headers": {"Content-Encoding": "br"}}, "an encoding not asked for"),
        (dripping, "no whole answer in time"),
        (torn, "no answer"),
        ({"status": 302, "headers": {"Location": "http://other.example/"}}, "another host"),
        ({"status": 302, "headers": {"Location": "file:///etc/passwd"}}, "another host"),
        ({"status": 302}, "another host"),
        ({"status": 302, "headers": {"Location": "/p"}}, "too many redirects"),
    ],
)
def test_answer_that_cannot_be_used_is_a_reason_not_a_crash(answer, reason):
    async def steps(pages, poller):
        return await failure(poller, f"{pages.base}/p")

    given = settings(max_body_bytes=1000, total_timeout_s=0.3, attempts=2)
    assert reason in scenario({"/p": answer}, steps, given)[0].reason


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(b"y" * 1000),
        gzip.compress(b"y" * 400) + gzip.compress(b"y" * 600),
        zlib.compress(b"y" * 1000),
    ],
)
def test_packed_body_up_to_the_bound_is_unpacked(body):
    async def steps(pages, poller):
        return (await poller.get(f"{pages.base}/p")).body

    given = settings(max_body_bytes=1000)
    assert scenario({"/p": {"body": body, "headers": GZIP}}, steps, given)[0] == b"y" * 1000


@pytest.mark.parametrize("url", ["", "news", "ftp://a.example/x", "http://"])
def test_unusable_address_is_a_reason(url):
    async def steps(_, poller):
        return await failure(poller, url)

    assert "address" in scenario({}, steps)[0].reason


def test_redirect_on_the_same_host_is_followed_with_headers():
    async def steps(pages, poller):
        return (await poller.get(f"{pages.base}/old", headers={"x-key": Secret(CANARY)})).body

    answers = {"/old": {"status": 301, "headers": {"Location": "/new?a=1"}}, "/new": b"x"}
    body, pages, _ = scenario(answers, steps)

    assert body == b"x"
    assert pages.asked[1][1] == {"a": "1"}
    assert pages.asked[1][2]["x-key"] == CANARY


def test_certificate_is_verified_and_keys_stay_from_foreign_hosts():
    authority = trustme.CA()
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def run():
        health = FeedHealth("test")
        async with Pages({"/end": b"x"}, tls=serving) as there:
            redirect = {"status": 302, "headers": {"Location": f"{there.base}/end"}}
            async with Pages({"/p": redirect}) as here:
                async with Poller(QUICK, health, tls=trusting) as poller:
                    secret = {"x-key": Secret(CANARY)}
                    body = (await poller.get(f"{here.base}/p", headers=secret)).body
                async with Poller(QUICK, health) as poller:
                    untrusted = await failure(poller, f"{there.base}/end")
            return body, there, untrusted

    body, there, untrusted = asyncio.run(run())
    assert body == b"x"
    assert CANARY not in str(there.asked)
    assert len(there.asked) == 1
    assert untrusted.reason.startswith("no answer")


def test_cookies_are_not_kept():
    async def steps(pages, poller):
        for _ in range(2):
            await poller.get(f"{pages.base}/p")

    headers = {"Set-Cookie": "id=1"}
    _, pages, _ = scenario({"/p": {"body": b"x", "headers": headers}}, steps)

    assert "Cookie" not in pages.asked[1][2]


def test_no_key_in_errors_or_logs():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    # Our own events, without the help of a redacting processor.
    with structlog.testing.capture_logs() as events:
        root.addHandler(handler)
        logging.getLogger("httpx2").setLevel(logging.WARNING)
        root.setLevel(logging.DEBUG)
        try:

            async def steps(pages, poller):
                url = f"{pages.base}/p"
                wrong = [await failure(poller, url, {"k": Secret(CANARY)}) for _ in range(2)]
                pages.answers["/p"] = torn
                wrong.append(await failure(poller, url, {"k": Secret(CANARY)}))
                with pytest.raises(PollError) as failed:
                    await poller.post(
                        f"{pages.base}/t", {"f": Secret(CANARY)}, auth=("id", Secret(CANARY))
                    )
                return [*wrong, failed.value]

            answers = {"/p": {"status": 403}, "/t": {"status": 400}}
            errors, pages, health = scenario(
                answers, steps, headers={"x-api-key": Secret(CANARY)}, now=lambda: NOW
            )
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
            logging.getLogger("httpx2").setLevel(logging.NOTSET)

    assert CANARY in str(pages.asked)  # it was sent
    shown = [str(events), stream.getvalue(), repr(health)]
    for error in errors:
        shown += ["".join(traceback.format_exception(error)), repr(vars(error))]
        assert error.__cause__ is None
        assert error.__context__ is None
    assert CANARY not in "".join(shown)
