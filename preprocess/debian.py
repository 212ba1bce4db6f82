"""Debian's packages as a source of text: downloaded without root, read without installing."""

import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import RecipeError


def download(names: list[str], directory: Path, otherwise: str) -> dict[str, Path]:
    """Download packages into `directory`; refresh the package lists if need be.

    Raises RecipeError where apt is missing or has no such package, ending with `otherwise`, which
    says what to do instead.
    """
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise RecipeError(f"apt-get is not on this machine; {otherwise}")
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
        raise RecipeError(f"apt-get cannot download {' '.join(names)} ({last}); {otherwise}")
    return {name: next(directory.glob(f"{name}_*.deb")) for name in names}


def _download(names: list[str], directory: Path, options: list[str]) -> str | None:
    command = ["apt-get", "-qq", *options, "download", *dict.fromkeys(names)]
    result = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    return result.stderr or "no reason given" if result.returncode else None


def files(package: Path, pattern: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (the pattern's first group, content) of each file whose path matches the pattern.

    Raises RecipeError for a damaged package.
    """
    unpack = ["dpkg-deb", "--fsys-tarfile", str(package)]
    try:
        with (
            subprocess.Popen(unpack, stdout=subprocess.PIPE) as unpacked,
            tarfile.open(fileobj=unpacked.stdout, mode="r|") as tar,
        ):
            for member in tar:
                match = pattern.fullmatch(member.name)
                file = tar.extractfile(member) if match and member.isfile() else None
                if match and file:
                    yield match[1], file.read()
    except tarfile.TarError as error:
        raise RecipeError(f"{package.name} is damaged ({error}); run again") from error
    if unpacked.returncode:
        raise RecipeError(f"{package.name} is damaged; run again")
