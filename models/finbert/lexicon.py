"""Word lists: the baseline that the models must beat, and what answers where there is none.

Ours, from the words of the trade; not fitted to anything. Japanese has no spaces: its words are
sought anywhere in the text.
"""

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
_NEGATIVE_JA = """
減少 減収 減益 減速 減配 悪化 低下 低迷 下落 下降 下回 下方修正 急落 暴落 続落
反落 赤字 損失 不振 不調 不安 厳し 苦戦 懸念 縮小 落ち込 伸び悩 減損 破綻 倒産
リストラ 売り 円高 値下げ 停滞 後退 失速 遅れ 不正 訴訟 不足 高騰
"""
_POSITIVE_JA = """
増加 増収 増益 増配 改善 上昇 上回 上方修正 急騰 急伸 続伸 反発 黒字 好調 好転
堅調 順調 回復 拡大 伸び 成長 最高益 過去最高 活況 活発 期待 買い 提携 受注 復配
自社株買い 持ち直 にぎわ 底堅 明る
"""
NEGATIVE, POSITIVE = frozenset(_NEGATIVE.split()), frozenset(_POSITIVE.split())
_WORD = re.compile(r"[a-z]+")
# The longest first: 上方修正 is no 上昇, and 伸び悩 is no 伸び.
_JAPANESE = re.compile(
    "|".join(sorted((*_NEGATIVE_JA.split(), *_POSITIVE_JA.split()), key=len, reverse=True))
)
_BAD_JA = frozenset(_NEGATIVE_JA.split())
LANGUAGES = ("en", "ja")


def counts(text: str, lang: str = "en") -> tuple[int, int]:
    """Return how many bad and how many good words a text has.

    >>> counts("Profit surges, shares rally"), counts("売上は伸び悩み、減益", "ja")
    ((0, 3), (2, 0))
    """
    if lang == "ja":
        found = _JAPANESE.findall(text)
        bad = sum(word in _BAD_JA for word in found)
        return bad, len(found) - bad
    words = _WORD.findall(text.lower())
    return sum(word in NEGATIVE for word in words), sum(word in POSITIVE for word in words)


def lexicon_label(text: str, lang: str = "en") -> int:
    """Return 0 where bad words outnumber good ones, 1 where good ones do, else 2.

    >>> lexicon_label("Profit surges, shares rally")
    1
    """
    bad, good = counts(text, lang)
    return 1 if good > bad else 0 if bad > good else 2


def lexicon_probabilities(text: str, lang: str) -> tuple[float, float, float]:
    """Return (negative, positive, neutral): shares of the words found, each class given one more.

    The one more is Laplace's rule of succession. It is no calibration: nothing was fitted.

    >>> lexicon_probabilities("Shares fall", "en")
    (0.5, 0.25, 0.25)
    """
    bad, good = counts(text, lang)
    total = bad + good + 3
    return (bad + 1) / total, (good + 1) / total, 1 / total
