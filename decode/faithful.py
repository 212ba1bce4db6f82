"""Numbers and addresses that a translation should repeat, and did not."""

import re
import unicodedata
from collections import Counter

_ADDRESS = re.compile(r"(?:https?://|www\.)[^\s<>\"“”]*[^\s<>\"“”.,;:!?()\[\]]")
# With separators inside, which languages write differently: 1,000, 1.000 and 1 000.
_NUMBER = re.compile(r"\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?!\d)|\d(?:[\d.,:'\u00a0\u202f]*\d)?")


def addresses(text: str) -> Counter[str]:
    """The web addresses in a text, with how often they come."""
    return Counter(_ADDRESS.findall(text))


def numbers(text: str) -> Counter[str]:
    """The digits of each number in a text, in any script's digits, without those in addresses."""
    found = _NUMBER.findall(_ADDRESS.sub(" ", text))
    return Counter(
        "".join(str(unicodedata.digit(c)) for c in number if c.isdigit()) for number in found
    )
