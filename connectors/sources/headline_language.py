"""Which language a headline is in: told by its script first, then by its feed."""

import re

_KANA = re.compile(r"[ぁ-ゟァ-ヺｦ-ﾟ]")
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_LATIN = re.compile(r"[A-Za-z]")
# Written so in simplified Chinese alone; Japanese has another form of each.
_SIMPLIFIED = frozenset(
    "这们说让谁还进远钱铁门问间闻风飞马鱼鸟龙东车书买卖见讯议许论设访证评识词话该详语误读调谈请为从时对发业务"
)
_ENGLISH_WORDS = (
    "the of to in and for on is as at by with from after over its will has was are be it up"
)
_FOREIGN_WORDS = (
    "el la los las de una que por para con del como más der die das und ist nicht mit von für auf"
    " le les des une est pour dans avec sur il gli della che per non sono di o os uma não em dos"
)
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_FOREIGN = frozenset(_FOREIGN_WORDS.split())

_SURE = 2  # foreign words, where no English one is


def language(text: str, declared: str | None) -> str:
    """Return two letters: what the script shows, else what is `declared`, else English.

    "other" stands for a language that is certainly not the declared one. Han without kana is
    Japanese unless simplified or declared otherwise.

    >>> language("トヨタが上昇", None), language("Toyota gains", "en-US")
    ('ja', 'en')
    >>> language("比特币上涨", "zh"), language("El precio de la gasolina", None)
    ('zh', 'other')
    """
    told = (declared or "").replace("_", "-").partition("-")[0].strip().lower()
    letters = sum(character.isalpha() for character in text)
    kana, han, latin = (len(pattern.findall(text)) for pattern in (_KANA, _HAN, _LATIN))
    if not letters:
        return told or "en"
    if kana and kana + han >= 0.15 * letters:
        return "ja"
    if han >= 0.3 * letters:
        return _of_han(text, told)
    unlike = told if told not in {"", "en", "ja"} else "other"
    if latin < 0.5 * letters or _is_foreign(text):
        return unlike
    # A Japanese feed may carry an English headline.
    return "en" if told in {"", "ja"} else told


def _of_han(text: str, told: str) -> str:
    if any(character in _SIMPLIFIED for character in text):
        return "zh"
    return told if told not in {"", "en"} else "ja"


def _is_foreign(text: str) -> bool:
    words = [word.casefold() for word in re.findall(r"[^\W\d_]+", text)]
    return sum(word in _FOREIGN for word in words) >= _SURE and not _ENGLISH.intersection(words)
