"""How a tokeniser of Hugging Face cuts text, and what its model wants around it."""

from collections.abc import Sequence
from typing import Any


def cut(
    tokenizer: Any, lines: Sequence[str], target: bool = False, special: bool = False
) -> list[list[int]]:
    """Numbers of the subwords of lines, without tags.

    Nothing in the text acts as a special token (`</s>`, say) unless `special`. `target` is for
    Marian's tokenisers, which cut the two sides each in its own way; others would add tags.
    """
    if hasattr(tokenizer, "supported_language_codes") and not special:
        # A Marian's takes what a line begins with for the language to translate into.
        lines = [f" {line}" if line.startswith(">>") else line for line in lines]
    rows: list[list[int]] = tokenizer(
        **{"text_target" if target else "text": list(lines)},
        add_special_tokens=False,
        split_special_tokens=not special,
        verbose=False,
    )["input_ids"]
    if special:
        return rows
    # Some find them in text all the same, as entries of their model.
    forbidden = {*tokenizer.all_special_ids, *getattr(tokenizer, "lang_token_to_id", {}).values()}
    unknown = tokenizer.unk_token_id
    return [[unknown if number in forbidden else number for number in row] for row in rows]


def around(tokenizer: Any, prefix: str) -> tuple[list[int], list[int]]:
    """Numbers of what a model wants before and after each source: tags, end, and its prefix."""
    whole = tokenizer("a")["input_ids"]
    inner = tokenizer("a", add_special_tokens=False)["input_ids"]
    places = range(len(whole) - len(inner) + 1)
    start = next(p for p in places if whole[p : p + len(inner)] == inner)
    begin = tokenizer(prefix, add_special_tokens=False)["input_ids"] if prefix else []
    return [*whole[:start], *begin], whole[start + len(inner) :]
