"""What is secret stays so, in every log and error."""

import copy
import io
import json
import logging
import pickle

import httpx2
import msgspec
import pytest
import structlog

from connectors.secrets import (
    AuthorHash,
    Secret,
    guard_logging,
    redact,
    redacting_processor,
    secret_from,
)

CANARY = "CANARY/key+7f3a9&=%"


@pytest.fixture
def guarded():
    before = logging.getLogRecordFactory()
    guard_logging()
    yield
    logging.setLogRecordFactory(before)


def log_of(name, level=logging.DEBUG):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    logger.setLevel(level)
    return logger, handler, stream


def fail(error):
    raise error


def test_secret_shows_itself_only_when_asked():
    secret = Secret(CANARY)

    shown = [str(secret), repr(secret), f"{secret:>5}", "%s" % secret, repr([secret])]  # noqa: UP031
    assert not any(CANARY in text for text in shown)
    assert secret.reveal() == CANARY
    assert secret == Secret(CANARY) != Secret("other")
    assert bool(secret)
    assert not Secret()


def test_secret_is_neither_pickled_nor_encoded():
    secret = Secret(CANARY)

    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        msgspec.json.encode({"key": secret})
    assert copy.deepcopy(secret) is secret


def test_settings_read_a_secret_and_refuse_another_type():
    class Settings(msgspec.Struct):
        key: Secret

    settings = msgspec.convert({"key": CANARY}, Settings, dec_hook=secret_from)

    assert settings.key.reveal() == CANARY
    assert CANARY not in repr(settings)
    with pytest.raises((msgspec.ValidationError, NotImplementedError)):
        msgspec.convert({"key": 5}, Settings, dec_hook=secret_from)


@pytest.mark.parametrize(
    "text",
    [
        CANARY,
        f"x{CANARY}y",
        "GET /?k=CANARY%2Fkey%2B7f3a9%26%3D%25 HTTP/1.1",
        repr(CANARY.encode()),
        json.dumps({"k": CANARY}),
    ],
)
def test_known_secret_is_struck_out_in_any_form(text):
    Secret(CANARY)

    assert "7f3a9" not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://venue.example/q?symbol=IBM&apikey=LEAK",
        "https://venue.example/q?api_key=LEAK&x=1",
        "https://venue.example/q?token=LEAK",
        "Authorization: Bearer LEAKLEAK",
        "authorization: Basic TEVBSw==",
        "X-API-KEY: LEAK",
        '{"access_token": "LEAK", "expires_in": 3600}',
        "{'client_secret': 'LEAK'}",
        "https://user:LEAK@venue.example/",
        "(b'X-Api-Key', b'x'), password=LEAK",
    ],
)
def test_unknown_secret_is_struck_out_by_its_name(text):
    struck = redact(text)

    assert "LEAK" not in struck
    assert "TEVBSw" not in struck


def test_what_is_no_secret_stays():
    text = "reconnected feed=binance tokens seen: 7, keyboard, GET /api/v3/klines?symbol=BTCUSDT"

    assert redact(text) == text


def test_short_secret_is_struck_out_only_as_a_word():
    Secret("zq7")

    assert redact("key zq7, buzzq7x") == "key ***, buzzq7x"


def test_structlog_events_are_redacted_with_their_tracebacks():
    Secret(CANARY)
    lines = []
    log = structlog.wrap_logger(
        structlog.PrintLogger(io.StringIO()),
        processors=[redacting_processor, lambda _, __, event: lines.append(repr(event)) or ""],
    )
    try:
        fail(ValueError(f"no answer from https://venue/?apikey={CANARY}"))
    except ValueError:
        log.exception("failed", url=f"/?k={CANARY}", nested={"a": [CANARY, b"x"]}, number=5)
    log.info("error", error=OSError(CANARY), key=Secret(CANARY))

    assert len(lines) == 2
    assert "7f3a9" not in "".join(lines)
    assert "ValueError" in lines[0]
    assert "'number': 5" in lines[0]


def test_standard_loggers_are_redacted_below_any_handler(guarded):
    Secret(CANARY)
    logger, handler, stream = log_of("websockets.client")
    try:
        logger.debug("> GET %s HTTP/1.1", f"/stream?listenKey={CANARY}")
        logger.debug("> %s: %s", "Authorization", "Bearer LEAKLEAK")
        try:
            fail(OSError(f"no route to {CANARY}"))
        except OSError:
            logger.exception("failed")
        logger.debug("%d %s", "does not fit", CANARY)
        logger.debug("untouched %s", 5)
    finally:
        logger.removeHandler(handler)

    written = stream.getvalue()
    assert "7f3a9" not in written
    assert "LEAK" not in written
    assert "OSError: no route to ***" in written
    assert "untouched 5" in written


def test_httpx2_does_not_log_a_key(guarded):
    Secret(CANARY)
    logger, handler, stream = log_of("httpx2")
    try:
        transport = httpx2.MockTransport(lambda _: httpx2.Response(200))
        with httpx2.Client(transport=transport) as client:
            client.get("https://venue.example/query", params={"k": CANARY, "apikey": "LEAK"})
    finally:
        logger.removeHandler(handler)

    assert "venue.example" in stream.getvalue()
    assert "7f3a9" not in stream.getvalue()
    assert "LEAK" not in stream.getvalue()


def test_guard_is_installed_once(guarded):
    factory = logging.getLogRecordFactory()
    guard_logging()

    assert logging.getLogRecordFactory() is factory


def test_author_hash_depends_on_key_and_name_alone():
    ours, theirs = AuthorHash(b"k" * 16), AuthorHash(b"other key of 16+")

    assert ours("Jane  Doe") == ours("jane doe") == AuthorHash(b"k" * 16)("JANE DOE")
    assert ours("Jane Doe") != theirs("Jane Doe")
    assert ours("Jane Doe") != ours("John Doe")
    assert len(ours("\ud800")) == 32
    assert "k" * 4 not in repr(ours)
    with pytest.raises(ValueError, match="16 bytes"):
        AuthorHash(b"short")
