"""What Alpha Vantage says when it does not answer: HTTP 200 and one of three keys.

The wordings are the venue's own as open clients have recorded them; `{}` stands for what
varies. The text of a burst names the day's limit too, and one form of the daily one repeats the
caller's key: both have misled clients.
"""

__all__ = [
    "bad_call",
    "bad_key",
    "burst",
    "burst_note",
    "daily",
    "daily_key",
    "demo",
    "invalid_inputs",
    "no_function",
    "premium",
]

_THANKS = "Thank you for using Alpha Vantage!"
_PREMIUM = "https://www.alphavantage.co/premium/"
_CLAIM = "https://www.alphavantage.co/support/#api-key"


def burst(requests: int, day: int) -> dict[str, str]:
    """Too many requests within a second; names the day's limit as well."""
    return {
        "Information": f"{_THANKS} Please consider spreading out your free API requests more "
        f"sparingly ({requests} request per second). You may subscribe to any of the premium plans "
        f"at {_PREMIUM} to lift the free key rate limit ({day} requests per day), raise the "
        "per-second burst limit, and instantly unlock all premium endpoints"
    }


def burst_note() -> dict[str, str]:
    """Too many requests within a minute, in the older form."""
    return {
        "Note": f"{_THANKS} Our standard API call frequency is 5 calls per minute and 500 calls "
        f"per day. Please visit {_PREMIUM} if you would like to target a higher API call frequency."
    }


def daily(day: int) -> dict[str, str]:
    """The day's requests are used up."""
    return {
        "Information": f"{_THANKS} Our standard API rate limit is {day} requests per day. Please "
        f"subscribe to any of the premium plans at {_PREMIUM} to instantly remove all daily rate "
        "limits."
    }


def daily_key(day: int, key: str) -> dict[str, str]:
    """The day's requests are used up, in the form that repeats the key."""
    return {
        "Information": f"We have detected your API key as {key} and our standard API rate limit is "
        f"{day} requests per day. Please subscribe to any of the premium plans at {_PREMIUM} to "
        "instantly remove all daily rate limits."
    }


def premium() -> dict[str, str]:
    """An endpoint that a free key does not open."""
    return {
        "Information": f"{_THANKS} This is a premium endpoint. You may subscribe to any of the "
        f"premium plans at {_PREMIUM} to instantly unlock all premium endpoints"
    }


def demo() -> dict[str, str]:
    """The key of the documentation's examples, for something that is no example."""
    return {
        "Information": "The **demo** API key is for demo purposes only. Please claim your free API "
        f"key at ({_CLAIM}) to explore our full API offerings. It takes fewer than 20 seconds."
    }


def invalid_inputs() -> dict[str, str]:
    """NEWS_SENTIMENT was asked with values that it does not know."""
    return {
        "Information": "Invalid inputs. Please refer to the API documentation "
        "https://www.alphavantage.co/documentation#newsapi and try again."
    }


def bad_key() -> dict[str, str]:
    """No key, or a wrong one."""
    return {
        "Error Message": "the parameter apikey is invalid or missing. Please claim your free API "
        f"key on ({_CLAIM}). It should take less than 20 seconds."
    }


def bad_call(function: str) -> dict[str, str]:
    """A parameter is missing, or a symbol is not known where that is an error."""
    return {
        "Error Message": "Invalid API call. Please retry or visit the documentation "
        f"(https://www.alphavantage.co/documentation/) for {function}."
    }


def no_function(function: str) -> dict[str, str]:
    """A function that does not exist."""
    return {"Error Message": f"This API function ({function}) does not exist."}
