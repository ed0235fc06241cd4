"""The stocks that are simulated: an assumed base price and character for each code.

Nothing here is market data. Prices are round figures of the size these stocks had in the
2020s, the rest is assumed, so that a simulated market looks like one.
"""

import math
import re
from hashlib import blake2b
from typing import NamedTuple

from models.tokyo.rules import Index, TokyoError

# Four characters, since 2024 with letters in the second or last place; JPX leaves out the
# letters that look like digits or sound alike (B, E, I, O, Q, V, Z).
_CODE = re.compile(r"[1-9][0-9ACDFGHJKLMNPRSTUWXY][0-9][0-9ACDFGHJKLMNPRSTUWXY]")


class Listing(NamedTuple):
    """One stock; `volatility` is the standard deviation of a day's log return."""

    code: str
    name: str
    price: float  # yen: the assumed price around which the simulated one wanders
    volatility: float
    orders: int  # of a usual day: new, cancelled and market orders
    lots: float  # mean size of an order
    group: Index


_LARGE, _MID, _SMALL = Index.TOPIX100, Index.TOPIX500, Index.OTHER

LISTINGS = {
    row[0]: Listing(*row)
    for row in (
        ("7203", "Toyota Motor", 2_700.0, 0.016, 24_000, 5.0, _LARGE),
        ("6758", "Sony Group", 3_600.0, 0.018, 22_000, 4.0, _LARGE),
        ("8306", "Mitsubishi UFJ", 1_900.0, 0.017, 22_000, 9.0, _LARGE),
        ("9984", "SoftBank Group", 9_500.0, 0.024, 22_000, 3.0, _LARGE),
        ("8035", "Tokyo Electron", 26_000.0, 0.026, 22_000, 2.0, _LARGE),
        ("6861", "Keyence", 62_000.0, 0.018, 12_000, 1.5, _LARGE),
        ("9983", "Fast Retailing", 47_000.0, 0.019, 14_000, 1.5, _LARGE),
        ("9432", "NTT", 150.0, 0.010, 16_000, 40.0, _LARGE),
        ("9433", "KDDI", 4_900.0, 0.012, 12_000, 3.0, _LARGE),
        ("9434", "SoftBank", 210.0, 0.010, 14_000, 30.0, _LARGE),
        ("7974", "Nintendo", 9_000.0, 0.018, 16_000, 2.5, _LARGE),
        ("6501", "Hitachi", 4_000.0, 0.019, 18_000, 4.0, _LARGE),
        ("8316", "Sumitomo Mitsui FG", 3_700.0, 0.017, 16_000, 4.0, _LARGE),
        ("8411", "Mizuho FG", 3_900.0, 0.017, 14_000, 3.0, _LARGE),
        ("6098", "Recruit Holdings", 9_500.0, 0.021, 14_000, 2.5, _LARGE),
        ("4063", "Shin-Etsu Chemical", 5_200.0, 0.018, 13_000, 3.0, _LARGE),
        ("8058", "Mitsubishi Corporation", 2_600.0, 0.017, 16_000, 4.0, _LARGE),
        ("8031", "Mitsui & Co.", 3_200.0, 0.017, 14_000, 4.0, _LARGE),
        ("8001", "Itochu", 7_700.0, 0.015, 12_000, 2.5, _LARGE),
        ("7267", "Honda Motor", 1_400.0, 0.016, 15_000, 6.0, _LARGE),
        ("4568", "Daiichi Sankyo", 4_400.0, 0.020, 12_000, 3.0, _LARGE),
        ("4502", "Takeda", 4_200.0, 0.012, 11_000, 3.0, _LARGE),
        ("7011", "Mitsubishi Heavy", 2_300.0, 0.025, 20_000, 7.0, _LARGE),
        ("6857", "Advantest", 9_000.0, 0.028, 18_000, 3.0, _LARGE),
        ("6146", "Disco", 42_000.0, 0.030, 15_000, 1.5, _LARGE),
        ("8697", "Japan Exchange Group", 1_800.0, 0.016, 8_000, 4.0, _MID),
        ("7201", "Nissan Motor", 420.0, 0.020, 14_000, 20.0, _MID),
        ("6920", "Lasertec", 18_000.0, 0.032, 16_000, 2.0, _MID),
        ("4385", "Mercari", 2_100.0, 0.027, 9_000, 4.0, _MID),
        ("4755", "Rakuten Group", 900.0, 0.022, 12_000, 12.0, _MID),
        ("8473", "SBI Holdings", 3_700.0, 0.018, 9_000, 3.0, _MID),
        ("285A", "Kioxia Holdings", 1_600.0, 0.035, 12_000, 6.0, _SMALL),
        ("9348", "ispace", 700.0, 0.042, 8_000, 10.0, _SMALL),
        ("4588", "Oncolys BioPharma", 600.0, 0.048, 6_000, 8.0, _SMALL),
        ("130A", "Veritas In Silico", 750.0, 0.040, 2_500, 3.0, _SMALL),
    )
}


def listing(code: str) -> Listing:
    """Return the stock of a code; one that is not in the table is a small one, made up.

    Raises:
        TokyoError: The code is not of Tokyo's form.

    >>> listing("7203").name, listing("1301").group.value
    ('Toyota Motor', 'other')
    """
    known = LISTINGS.get(code)
    if known is not None:
        return known
    if not _CODE.fullmatch(code):
        raise TokyoError(f"Code {code!r} is not of Tokyo's form: use one such as '7203' or '130A'.")
    digest = blake2b(code.encode(), digest_size=8, person=b"tokyo.listing").digest()
    first, second = (int.from_bytes(digest[i : i + 4]) / 2**32 for i in (0, 4))
    price = 300.0 * math.exp(first * math.log(20.0))  # 300 to 6,000 yen
    return Listing(code, f"TSE {code}", price, 0.02 + 0.02 * second, 3_000, 4.0, _SMALL)
