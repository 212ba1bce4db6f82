"""What an output directory holds and where it came from.

    python -m pipeline.manifest exp/score/scores.json

prints the chain from that file back to the digest of each raw file.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import RecipeError

REPOSITORY = Path(__file__).resolve().parent.parent
NAME = "manifest.json"
FACTS = "facts.json"
# Left by a command that was told to stop before its end, ended well, and can go on.
UNFINISHED = "unfinished.json"


@dataclass
class FileRecord:
    """One output file. `lines` is None for a binary file; `mtime_ns` only speeds up checking."""

    bytes: int
    sha256: str
    lines: int | None
    mtime_ns: int

    def difference(self, path: Path) -> str | None:
        """How the file at `path` differs from this record, or None.

        Same size and modification time are taken as unchanged; otherwise it is hashed.
        """
        if not path.is_file():
            return f"{path} was removed"
        status = path.stat()
        if (status.st_size, status.st_mtime_ns) == (self.bytes, self.mtime_ns):
            return None
        if status.st_size == self.bytes and file_record(path).sha256 == self.sha256:
            return None
        return f"{path} was changed"


@dataclass
class Manifest:
    """The record of one stage's run; see the fields of `manifest.json` in the README.

    `key` holds what the stage depends on, part by part, so that a difference can be named:
    `command` (its arguments), `inputs` and `code` (path → digest), `libraries` (name → version).
    Paths in it begin with `{exp}` or `{repo}` where they can, so that both may be moved; `exp`
    is the way from the output directory to the former.
    """

    stage: str
    title: str
    key: dict[str, Any]
    exp: str
    command: list[str]
    started: str
    seconds: float
    peak_memory_bytes: int
    host: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    files: dict[str, FileRecord] = field(default_factory=dict)

    @property
    def minutes(self) -> float:
        """How long it took: a training from its first start, interruptions left out."""
        return float(self.facts.get("training_minutes") or self.seconds / 60)

    def write(self, directory: Path) -> None:
        """Write as `directory/manifest.json`, atomically."""
        write_json(directory / NAME, asdict(self))

    @staticmethod
    def read(directory: Path) -> "Manifest | None":
        """The manifest in `directory`, or None if there is none that can be read."""
        try:
            data = json.loads((directory / NAME).read_text(encoding="utf-8"))
            data["files"] = {name: FileRecord(**record) for name, record in data["files"].items()}
            return Manifest(**data)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def damage(self, directory: Path) -> str | None:
        """What differs between this record and the files in `directory`, or None.

        The local files that were fetched count too.
        """
        for name, record in self.files.items():
            if difference := record.difference(directory / name):
                return f"{difference} after the stage made it"
        for source in self.facts.get("sources", []):
            scheme, _, name = source["url"].partition(":")
            record = FileRecord(**{k: source[k] for k in ("bytes", "sha256", "lines", "mtime_ns")})
            if scheme == "file" and (difference := record.difference(Path(name))):
                return f"{difference} after it was fetched"
        return None

    def inputs(self, directory: Path) -> dict[Path, str]:
        """Path and digest of each input, for a manifest that was read from `directory`."""
        exp = os.path.normpath(directory / self.exp)
        return {
            Path(name.replace("{exp}", exp).replace("{repo}", str(REPOSITORY))): digest
            for name, digest in self.key["inputs"].items()
        }

    def digest(self) -> str:
        """One digest for all files: equal if and only if their names and bytes are equal."""
        listing = "".join(f"{r.sha256} {name}\n" for name, r in sorted(self.files.items()))
        return hashlib.sha256(listing.encode()).hexdigest()


def write_json(path: Path, data: Any) -> None:
    """Write `data` as indented JSON, atomically."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)


def file_record(path: Path) -> FileRecord:
    """Size, digest, line count and modification time of a file, in one pass over its bytes."""
    sha256, lines, size, binary = hashlib.sha256(), 0, 0, False
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            lines += block.count(b"\n")
            size += len(block)
            binary = binary or b"\0" in block
    return FileRecord(size, sha256.hexdigest(), None if binary else lines, path.stat().st_mtime_ns)


def directory_records(directory: Path) -> dict[str, FileRecord]:
    """Records of all files below `directory` but its manifest and facts, by relative path."""
    return {
        path.relative_to(directory).as_posix(): file_record(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name not in (NAME, FACTS)
    }


def note(directory: Path, **facts: Any) -> None:
    """Leave facts (counts, settings, seed) for the manifest of the stage that runs us."""
    write_json(directory / FACTS, facts)


def facts(directory: Path) -> dict[str, Any]:
    """What a command left for the manifest of its stage, before or after the stage took it."""
    if manifest := Manifest.read(directory):
        return manifest.facts
    try:
        found: dict[str, Any] = json.loads((directory / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def owner(path: Path) -> tuple[Path, Manifest] | None:
    """The stage directory that `path` is or lies in, and its manifest."""
    for directory in (path, *path.parents):
        if directory.is_dir() and (manifest := Manifest.read(directory)):
            return directory, manifest
    return None


def ancestors(path: Path) -> Iterator[tuple[Path, Manifest]]:
    """Directory and manifest of the stage that made `path`, and of all before it, nearest first."""
    waiting, seen = [path.resolve()], set[Path]()
    while waiting:
        found = owner(waiting.pop(0))
        if found is None or found[0] in seen:
            continue
        seen.add(found[0])
        yield found
        waiting += found[1].inputs(found[0])


def chain(path: Path) -> Iterator[str]:
    """Yield printable lines from `path` back to the raw files, each stage once."""
    if owner(path.resolve()) is None:
        raise RecipeError(f"{path} was not made by a recipe: no {NAME} in it or above it")
    for directory, manifest in ancestors(path):
        yield f"stage {manifest.stage}  {manifest.title}  ({directory})"
        yield f"  {manifest.started}, {manifest.seconds:.1f} s, on {manifest.host['name']}"
        for name, record in manifest.files.items():
            lines = "" if record.lines is None else f", {record.lines:,} lines"
            yield f"  made  {record.sha256}  {name} ({record.bytes:,} bytes{lines})"
        for source in manifest.facts.get("sources", []):
            yield f"  raw   {source['sha256']}  {source['url']} ({source['bytes']:,} bytes)"
        for source_path, digest in manifest.inputs(directory).items():
            upstream = owner(source_path)
            if upstream is None:
                yield f"  raw   {digest}  {source_path}"
            else:
                changed = "" if _digest(source_path, *upstream) == digest else ", CHANGED SINCE"
                yield f"  from  {digest}  {source_path} (stage {upstream[1].stage}{changed})"


def _digest(path: Path, directory: Path, manifest: Manifest) -> str:
    if path == directory:
        return manifest.digest()
    record = manifest.files.get(path.relative_to(directory).as_posix())
    return record.sha256 if record else ""


def input_digest(path: Path) -> str:
    """The digest of a stage's output directory, of one file in it, or of any other path.

    Raises RecipeError if it does not exist.
    """
    found = owner(path)
    if found and (digest := _digest(path, *found)):
        return digest
    if path.is_dir():
        records = directory_records(path)
        listing = "".join(f"{r.sha256} {name}\n" for name, r in sorted(records.items()))
        return hashlib.sha256(listing.encode()).hexdigest()
    if not path.is_file():
        raise RecipeError(f"{path} does not exist; run the stage that makes it first")
    return file_record(path).sha256


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(f"usage: python -m pipeline.manifest FILE_OR_DIRECTORY\n{__doc__}")
    try:
        print("\n".join(chain(Path(sys.argv[1]))))
    except RecipeError as error:
        sys.exit(f"error: {error}")
