"""The baseline that the model must beat: count good and bad words of the trade."""

import re

_NEGATIVE = """
bankrupt bankruptcy bear bearish cut cuts cutting crash crashes decline declines declined default
downgrade downgraded downgrades drag drags drop drops dropped fall falls fell fraud hit hits hurt
layoff layoffs lawsuit lose loses loss losses low lower miss misses missed negative plunge plunges
plunged pressure probe recall sell selloff sink sinks sinking slash slashed slashes slide slides
slip slips slump slumps slumped tank tanks tumble tumbles tumbled underperform underweight warn
warns warning weak weaker weakness worst worries
"""
_POSITIVE = """
advance advances approval beat beats boost boosts bull bullish buy climb climbs gain gains gained
grow growth grows high higher jump jumps jumped outperform overweight positive profit raise raised
raises rally rallies rallied rebound rebounds record rise rises rose rising soar soars soared spike
spikes strong stronger surge surges surged top tops topped up upbeat upgrade upgraded upgrades
upside win wins
"""
NEGATIVE, POSITIVE = frozenset(_NEGATIVE.split()), frozenset(_POSITIVE.split())
_WORD = re.compile(r"[a-z]+")


def lexicon_label(text: str) -> int:
    """Return 0 where bad words outnumber good ones, 1 where good ones do, else 2.

    >>> lexicon_label("Profit surges, shares rally")
    1
    """
    words = _WORD.findall(text.lower())
    balance = sum(word in POSITIVE for word in words) - sum(word in NEGATIVE for word in words)
    return 1 if balance > 0 else 0 if balance < 0 else 2
