"""Reddit's listings and its token endpoint.

- `GET /r/{sub}/new.json`: as www.reddit.com serves it without a login.
- `GET /r/{sub}/new`: as oauth.reddit.com does, with `Authorization: bearer <token>` (a token sent
  to the first form is checked too); 401 without one, with a wrong one, or with one that lapsed.
- `POST /api/v1/access_token`: application-only OAuth: basic authentication with the client's id
  and secret, form field `grant_type=client_credentials`.

`limit` (25, at most 100), `after` and `before` page by fullname. X-Ratelimit-* headers stand on
every listing. A User-Agent that describes nobody (a library's default, or none) gets 429 at once.
The posts are invented. Faults are those of endpoint "reddit".
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from exchange.app import Venue
from exchange.client_limits import ClientLimit
from exchange.corpus import DISCLAIMER, Item, newsroom, read_stories
from exchange.delivery import deliver_json
from exchange.parts import settings_of

__all__ = ["RedditSettings", "routes"]

SECOND = 1_000_000_000
_FIRST_ID = 2_000_000_000  # in base 36, as posts' ids are
_LIBRARY = re.compile(
    r"(python|aiohttp|httpx|requests|urllib|curl|wget|go-http|okhttp|java|node)\b", re.IGNORECASE
)
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_TOO_MANY = {"message": "Too Many Requests", "error": 429}
_UNAUTHORIZED = {"message": "Unauthorized", "error": 401}


class RedditSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may ask, and how often. Times are real ones."""

    # Application ids and secrets that get a token; empty: any that are not empty.
    clients: dict[str, str] = {}
    token_seconds: float = 86_400.0
    requests: int = 100  # the venue's limit with OAuth
    requests_without_login: int = 10
    window_seconds: float = 60.0


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits


def _post(item: Item) -> dict[str, Any]:
    identity, sub = _base36(_FIRST_ID + item.number), item.outlet.partition("/")[2]
    # An author who left is told as "[deleted]".
    author = item.author if item.number % 11 else "[deleted]"
    link = f"/r/{sub}/comments/{identity}/{item.story.key.replace('-', '_')}/"
    return {
        "kind": "t3",
        "data": {
            "id": identity,
            "name": f"t3_{identity}",
            "subreddit": sub,
            "title": item.title,
            "selftext": f"{item.story.body}\n\n*{DISCLAIMER}*" if item.story.body else "",
            "author": author,
            "created": float(item.seconds),
            "created_utc": float(item.seconds),
            "score": 1 + item.number % 7,
            "ups": 1 + item.number % 7,
            "num_comments": item.number % 5,
            "permalink": link,
            "url": f"https://www.reddit.com{link}",
            "is_self": True,
            "over_18": False,
            "stickied": False,
        },
    }


class _Tokens:
    """Tokens given out, and until when they hold."""

    def __init__(self, venue: Venue, settings: RedditSettings) -> None:
        self._venue = venue
        self._settings = settings
        self._until: dict[str, float] = {}

    def _now(self) -> float:
        return self._venue.clock.real_elapsed() / SECOND

    def make(self) -> str:
        text = f"{self._venue.settings.seed}:{len(self._until)}"
        token = "sample-token-" + hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
        self._until[token] = self._now() + self._settings.token_seconds
        return token

    def hold(self, header: str) -> bool:
        kind, _, token = header.partition(" ")
        return kind.lower() == "bearer" and self._until.get(token.strip(), 0.0) > self._now()

    def known(self, header: str) -> bool:
        """Whether the header is the basic authentication of a client that may have a token."""
        kind, _, text = header.partition(" ")
        try:
            decoded = base64.b64decode(text, validate=True).decode()
        except ValueError:
            return False
        name, colon, secret = decoded.partition(":")
        if kind.lower() != "basic" or not colon:
            return False
        clients = self._settings.clients
        return bool(name) if not clients else name in clients and clients[name] == secret


class _Reddit:
    """The endpoints of one venue."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._settings = settings_of(venue, RedditSettings)
        self._tokens = _Tokens(venue, self._settings)
        seconds = self._settings.window_seconds
        self._with_token = ClientLimit(venue, "reddit", self._settings.requests, seconds)
        without = self._settings.requests_without_login
        self._without = ClientLimit(venue, "reddit", without, seconds)
        outlets = {outlet for story in read_stories() for outlet in story.tell}
        self._subs = {
            outlet.partition("/")[2].lower(): outlet
            for outlet in outlets
            if outlet.startswith("reddit/")
        }

    async def token(self, request: web.Request) -> web.StreamResponse:
        if _anonymous(request):
            return await self._reply(request, _TOO_MANY, 429)
        if not self._tokens.known(request.headers.get("Authorization", "")):
            return await self._reply(request, _UNAUTHORIZED, 401)
        form = await request.post()
        if form.get("grant_type") != "client_credentials":
            return await self._reply(request, {"error": "unsupported_grant_type"}, 200)
        body = {
            "access_token": self._tokens.make(),
            "token_type": "bearer",
            "expires_in": int(self._settings.token_seconds),
            "scope": "*",
        }
        return await self._reply(request, body, 200)

    async def listing(self, request: web.Request) -> web.StreamResponse:
        if _anonymous(request):
            self._venue.rules.breach("reddit_user_agent")
            return await self._reply(request, _TOO_MANY, 429)
        header = request.headers.get("Authorization", "")
        if (header or not request.path.endswith(".json")) and not self._tokens.hold(header):
            return await self._reply(request, _UNAUTHORIZED, 401)
        limit, client = (self._with_token, header) if header else (self._without, request.remote)
        allowed, used = limit.take(client or ""), limit.used(client or "")
        reset = limit.seconds_until(client or "") or self._settings.window_seconds
        left = {
            "X-Ratelimit-Used": str(used),
            "X-Ratelimit-Remaining": f"{limit.limit - used:.1f}",
            "X-Ratelimit-Reset": str(max(1, round(reset))),
        }
        if not allowed:
            return await self._reply(request, _TOO_MANY, 429, left)
        outlet = self._subs.get(request.match_info["sub"].lower())
        if outlet is None:
            return await self._reply(request, {"message": "Not Found", "error": 404}, 404, left)
        items = newsroom(self._venue).items(self._venue.clock.now(), outlet, 1000)
        page = _page([_post(item) for item in items], request.query)
        return await self._reply(request, page, 200, left)

    async def _reply(
        self,
        request: web.Request,
        body: Any,
        status: int,
        headers: dict[str, str] | None = None,
    ) -> web.StreamResponse:
        return await deliver_json(
            request, self._venue, "reddit", body, status=status, headers=headers
        )


def routes(venue: Venue) -> list[web.RouteDef]:
    """Serve listings and tokens."""
    reddit = _Reddit(venue)
    return [
        web.post("/api/v1/access_token", reddit.token),
        web.get("/r/{sub}/new.json", reddit.listing),
        web.get("/r/{sub}/new", reddit.listing),
    ]


def _anonymous(request: web.Request) -> bool:
    agent = request.headers.get("User-Agent", "").strip()
    return not agent or _LIBRARY.match(agent) is not None


def _page(posts: list[dict[str, Any]], asked: Mapping[str, str]) -> dict[str, Any]:
    """Cut a listing, the newest first, as `limit`, `after` and `before` ask."""
    text = asked.get("limit", "25")
    limit = min(100, max(1, int(text))) if text.isdecimal() else 25
    names = [post["data"]["name"] for post in posts]
    after, before = asked.get("after", ""), asked.get("before", "")
    begin, end = 0, len(posts)
    if after in names:
        begin = names.index(after) + 1
    elif before in names:
        end = names.index(before)
        begin = max(0, end - limit)
    children = posts[begin : min(end, begin + limit)]
    more = bool(children) and begin + limit < len(posts)
    data = {
        "after": children[-1]["data"]["name"] if more else None,
        "before": children[0]["data"]["name"] if children and begin else None,
        "dist": len(children),
        "modhash": "",
        "geo_filter": "",
        "children": children,
    }
    return {"kind": "Listing", "data": data}
