"""The one form that text has between the raw files and the model."""

import unicodedata

# Characters that show nothing: soft hyphen, zero-width space, word joiner. The joiners U+200C
# and U+200D are parts of letters in many scripts and stay.
_INVISIBLE = str.maketrans("", "", "\u00ad\u200b\u2060")


def normalise(line: str) -> str:
    """NFC, single spaces, no invisible characters.

    Applied to train and dev once, and by the subword codec to whatever is translated; references
    are never touched.
    """
    return " ".join(unicodedata.normalize("NFC", line).translate(_INVISIBLE).split())
