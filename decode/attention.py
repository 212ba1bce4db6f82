"""Where a model looks while it translates."""

from pathlib import Path

import ctranslate2

from decode.bundle import Bundle


def attention(bundle: Path, line: str) -> tuple[list[str], list[str], list[list[float]]] | None:
    """Subwords of a line, of its translation, and for each of these a weight for each of those.

    Weights are means over the heads of the last layer; what is left to 1 goes to the end of the
    sentence. None for an ensemble, and where the line is translated in parts.
    """
    loaded = Bundle.load(bundle)
    pieces = loaded.codec.encode([line], loaded.description.source_language)[0]
    if loaded.description.tag:
        pieces = [loaded.description.tag, *pieces]
    translator = loaded.translator
    if not isinstance(translator, ctranslate2.Translator):
        return None
    if len(pieces) > loaded.description.max_source_subwords:
        return None
    framed, first = loaded.frame.around(pieces), loaded.frame.target
    result = translator.translate_batch(
        [framed], [first] if first else None, beam_size=5, return_attention=True
    )[0]
    return framed, result.hypotheses[0], result.attention[0]
