"""Parallel paragraphs from LibreOffice's help, in some 35 languages, from Debian's packages.

Each package holds the same HTML pages, and a paragraph has the same id in every language, so
that (page, id) aligns exactly. The text is under the MPL-2.0.
"""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import lxml.html

from pipeline.errors import RecipeError
from pipeline.languages import find
from pipeline.manifest import file_record
from preprocess.debian import download, files
from preprocess.sources import Fetched

# page → paragraph id → text
Pages = dict[str, dict[str, str]]

_PACKAGE = "libreoffice-help-"
_OTHER_SOURCES = "use --train with file:, https:, npm: or pypi: instead (see --help)"
_TEXT_FOLDER = re.compile(r"\./usr/share/libreoffice/help/[^/]+/text/(.+\.html)")
_DEFAULT_REGIONS = {"en": "en-us", "zh": "zh-cn", "zh-Hant": "zh-tw"}


def package(code: str) -> str:
    """The Debian package for a language code: `en` → `libreoffice-help-en-us`."""
    language = find(code)
    tag = language.bcp47.replace("-Hant-", "-")
    return _PACKAGE + _DEFAULT_REGIONS.get(tag, tag).lower()


def packages(src: str, tgt: str) -> list[str]:
    """Those of both languages, and of English: British, where it is one of them."""
    english = next((code for code in (src, tgt) if find(code).iso3 == "eng"), "en")
    return [package(code) for code in (src, tgt, english)]


def help_pages(src: str, tgt: str) -> tuple[list[Pages], list[Fetched]]:
    """The help in the source language, the target language and English, and the raw packages.

    Raises RecipeError where apt is missing or has no such package, saying what to use instead.
    """
    names = packages(src, tgt)
    with tempfile.TemporaryDirectory(prefix="help-") as name:
        found = download(names, Path(name), _OTHER_SOURCES)
        fetched = [Fetched(f"apt:{p.name}", p, file_record(p)) for p in found.values()]
        pages = {name: _read_package(path) for name, path in found.items()}
    return [pages[name] for name in names], fetched


def paragraph_pairs(source: Pages, target: Pages, english: Pages) -> Iterator[tuple[str, str, str]]:
    """Yield (page, source, target) for each paragraph that is translated, page by page.

    A paragraph equal to the English one was left untranslated and is skipped, unless English is
    one of the two languages, where both sides must differ.
    """
    for page in sorted(source):
        for paragraph, source_text in source[page].items():
            target_text = target.get(page, {}).get(paragraph, "")
            english_text = english.get(page, {}).get(paragraph, "")
            if not source_text or not target_text:
                continue
            if source is english or target is english:
                untranslated = source_text == target_text
            else:
                untranslated = english_text in (source_text, target_text)
            if not untranslated:
                yield page, source_text, target_text


def parse_page(html: bytes) -> dict[str, str]:
    """Text of each paragraph and heading of a help page, by its id, without code examples.

    Where the text differs by system or program, only the default is kept: the page holds them
    all and a script hides the others ("CommandCtrl+F4").
    """
    paragraphs: dict[str, str] = {}
    if not html.strip():
        return paragraphs
    document = lxml.html.document_fromstring(html, parser=lxml.html.HTMLParser(encoding="utf-8"))
    for span in document.xpath("//span[@hidden]"):
        if not span.get("id", "").startswith("default"):
            span.drop_tree()
    for element in document.iter("p", "h1", "h2", "h3", "h4", "h5", "h6"):
        name = element.get("id", "")
        if name.startswith(("par_id", "hd_id")) and "code" not in element.get("class", ""):
            # A paragraph that is embedded twice in a page is the same text.
            paragraphs.setdefault(name, " ".join(element.text_content().split()))
    return paragraphs


def _read_package(path: Path) -> Pages:
    pages = {name: parse_page(html) for name, html in files(path, _TEXT_FOLDER)}
    if not pages:
        raise RecipeError(f"{path.name} holds no help pages; {_OTHER_SOURCES}")
    return pages
