"""Keeps text that looks like a control symbol from being taken for one.

`</s>`, `<2es>`, `@@` or `▁` in a sentence are text. Before cutting, a word joiner (U+2060) is put
inside them; normalised text holds no other, so that taking all of them out is the exact inverse.
"""

import re

_JOINER = "\u2060"
# What a synthetic source begins with (Caswell et al. 2019), and what noise leaves of a word
# (Edunov et al. 2018).
TAG, BLANK = "<BT>", "<BLANK>"
# Control symbols begin with "<": those of fairseq, SentencePiece's bytes, tags such as <2es>.
_BEFORE = re.compile(r"<(?=/?s>|pad>|unk>|BT>|BLANK>|0x[0-9A-F]{2}>|2[\w-]+>)|@(?=@)")
# SentencePiece's sign for a space cannot be split; the low line stands in for it.
_SPACE_SIGN, _STAND_IN = "▁", "_" + _JOINER
# All that `escape` changes.
RESERVED = re.compile(f"{_BEFORE.pattern}|{_SPACE_SIGN}")


def escape(line: str) -> str:
    """A normalised line in which no control symbol and no mark of a subword is left."""
    if "<" in line or "@@" in line or _SPACE_SIGN in line:
        line = _BEFORE.sub(lambda match: match[0] + _JOINER, line)
        line = line.replace(_SPACE_SIGN, _STAND_IN)
    return line


def unescape(line: str) -> str:
    """The line that `escape` was given."""
    return line.replace(_STAND_IN, _SPACE_SIGN).replace(_JOINER, "")
