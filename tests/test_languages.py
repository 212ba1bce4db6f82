"""One table of language codes."""

import pytest

from pipeline.errors import RecipeError
from pipeline.languages import find


@pytest.mark.parametrize(
    ("code", "flores", "moses", "bcp47"),
    [
        ("es", "spa_Latn", "es", "es"),
        ("spa", "spa_Latn", "es", "es"),
        ("FR", "fra_Latn", "fr", "fr"),
        ("pt-BR", "por_Latn", "pt", "pt-BR"),
        ("zho_Hans", "zho_Hans", "zh", "zh"),
        ("zh-TW", "zho_Hant", "zh", "zh-Hant-TW"),
        ("zho_Hant", "zho_Hant", "zh", "zh-Hant"),
        ("sw", "swh_Latn", "sw", "sw"),
        ("hsb", "hsb_Latn", "hsb", "hsb"),
        ("ara", "arb_Arab", "ar", "ar"),
        ("ach_latn", "ach_Latn", "ach", "ach-Latn"),  # in no table
    ],
)
def test_codes_of_all_kinds(code: str, flores: str, moses: str, bcp47: str) -> None:
    language = find(code)
    assert (language.flores, language.moses, language.bcp47) == (flores, moses, bcp47)


@pytest.mark.parametrize(
    "code",
    ["zz", "xx-YY", "ach", "ac_Latn", "cat_Alan", "new_york", "e", "", "spanisch?", "es_", "es ca"],
)
def test_an_unknown_code_is_an_error(code: str) -> None:  # Z3
    with pytest.raises(RecipeError, match="unknown language code"):
        find(code)


def test_the_nearest_code_is_suggested() -> None:
    with pytest.raises(RecipeError, match=r"did you mean .*ca \(Catalan\)"):
        find("catalan")


@pytest.mark.parametrize(
    ("code", "tokenizer"),
    [("zh", "zh"), ("zho_Hant", "zh"), ("ja", "ja-mecab"), ("kor_Hang", "ko-mecab"), ("de", "13a")],
)
def test_sacrebleu_tokenizers(code: str, tokenizer: str) -> None:
    assert find(code).sacrebleu_tokenizer == tokenizer
