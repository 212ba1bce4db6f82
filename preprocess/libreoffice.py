"""Parallel paragraphs from LibreOffice's help, in some 35 languages, from Debian's packages.

Each package holds the same HTML pages, and a paragraph has the same id in every language, so
that (page, id) aligns exactly. The text is under the MPL-2.0.
"""

import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import lxml.html

from pipeline.errors import RecipeError
from pipeline.languages import find
from pipeline.manifest import file_record
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
        files = _apt_download(names, Path(name))
        fetched = [Fetched(f"apt:{p.name}", p, file_record(p)) for p in files.values()]
        pages = {name: _read_package(path) for name, path in files.items()}
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


def _apt_download(names: list[str], directory: Path) -> dict[str, Path]:
    """Download packages without root and without installing; refresh the lists if need be."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise RecipeError(f"apt-get is not on this machine; {_OTHER_SOURCES}")
    # The lists may be empty (a container) or older than the archive: then we take our own.
    error = _download(names, directory, [])
    if error:
        print("The package lists are empty or old: refreshing them in a folder of our own.")
        own = directory / "apt"
        (own / "lists" / "partial").mkdir(parents=True)
        (own / "archives" / "partial").mkdir(parents=True)
        options = [
            *("-o", f"Dir::State::Lists={own / 'lists'}"),
            *("-o", f"Dir::Cache={own}"),
            *("-o", "Dir::Cache::pkgcache="),
            *("-o", "Dir::Cache::srcpkgcache="),
        ]
        update = subprocess.run(
            ["apt-get", "-qq", *options, "update"], capture_output=True, text=True
        )
        error = update.stderr if update.returncode else _download(names, directory, options)
    if error:
        last = error.strip().split("\n")[-1].removeprefix("E: ")
        raise RecipeError(f"apt-get cannot download {' '.join(names)} ({last}); {_OTHER_SOURCES}")
    return {name: next(directory.glob(f"{name}_*.deb")) for name in names}


def _download(names: list[str], directory: Path, options: list[str]) -> str | None:
    command = ["apt-get", "-qq", *options, "download", *dict.fromkeys(names)]
    result = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    return result.stderr or "no reason given" if result.returncode else None


def _read_package(path: Path) -> Pages:
    pages: Pages = {}
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", path], stdout=subprocess.PIPE) as unpack,
        tarfile.open(fileobj=unpack.stdout, mode="r|") as tar,
    ):
        for member in tar:
            match = _TEXT_FOLDER.fullmatch(member.name)
            file = tar.extractfile(member) if match and member.isfile() else None
            if match and file:
                pages[match[1]] = parse_page(file.read())
    if unpack.returncode or not pages:
        raise RecipeError(f"{path.name} holds no help pages; {_OTHER_SOURCES}")
    return pages
