"""Sources of every kind, on small files made here; https from a server on the loopback."""

import functools
import gzip
import hashlib
import http.server
import io
import json
import shutil
import ssl
import subprocess
import tarfile
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import RecipeError
from preprocess.sources import Fetcher


def fetch(source: str, lock: Path | None = None) -> list[tuple[str, str]]:
    return list(Fetcher(lock).pairs(source, "es", "ca", Counter()))


PAIRS = [("uno", "un"), ("dos", "dos")]


def test_two_files_by_language_or_by_name(tmp_path: Path) -> None:
    (tmp_path / "t.es").write_text("uno\ndos\n")
    (tmp_path / "t.ca").write_bytes(gzip.compress(b"un\ndos\n"))
    assert fetch(f"file:{tmp_path}/t.{{lang}}") == PAIRS
    assert fetch(f"file:{tmp_path}/{{t.es|t.ca}}") == PAIRS
    (tmp_path / "t.ca").write_text("un\n")
    with pytest.raises(RecipeError, match=r"t\.es has 2 lines but .*t\.ca has 1"):
        fetch(f"file:{tmp_path}/t.{{lang}}")


def test_tsv_needs_two_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("uno\tun\ndos\tdos\n")
    assert fetch(f"file:{path}") == PAIRS
    path.write_text("uno\tun\ndos dos\n")
    with pytest.raises(RecipeError, match=r"t\.tsv, line 2: 1 columns"):
        fetch(f"file:{path}")


def test_shards_join_in_numeric_order_by_line(tmp_path: Path) -> None:
    for number in (1, 2, 10, 11):  # no final newline in any
        (tmp_path / f"part.{number}.tsv").write_text(f"s{number}\tt{number}")
    assert [s for s, _ in fetch(f"file:{tmp_path}/part.*.tsv")] == ["s1", "s2", "s10", "s11"]


def test_archives_are_read_without_unpacking(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("d/t.es", "uno\ndos\n")
        archive.writestr("d/t.ca", "un\ndos\n")
        archive.writestr("../evil", "x")
    assert fetch(f"file:{tmp_path}/a.zip#member=d/t.{{lang}}") == PAIRS
    with pytest.raises(RecipeError, match=r"add #member= with one of: d/t\.es, d/t\.ca"):
        fetch(f"file:{tmp_path}/a.zip")
    for mode, name in (("w:gz", "a.tgz"), ("w:xz", "a.tar.xz")):
        with tarfile.open(tmp_path / name, mode) as tar:
            for member, text in (("t.es", b"uno\ndos\n"), ("t.ca", b"un\ndos\n")):
                info = tarfile.TarInfo(member)
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text))
        assert fetch(f"file:{tmp_path}/{name}#member=t.{{lang}}") == PAIRS
    with pytest.raises(RecipeError, match="no member nothing"):
        fetch(f"file:{tmp_path}/a.tgz#member=nothing")
    assert not (tmp_path.parent / "evil").exists()


def test_a_digest_that_is_given_must_be_met(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("uno\tun\ndos\tdos\n")
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert fetch(f"file:{path}#sha256={right}") == PAIRS
    with pytest.raises(RecipeError, match=f"has sha256 {right} where 00 was expected"):
        fetch(f"file:{path}#sha256=00")
    with pytest.raises(RecipeError, match=r"after # come member= and sha256=, not 2/t\.tsv;"):
        fetch("file:exp #2/t.tsv")


@pytest.mark.parametrize("source", ["ftp://x/y", "http://x/y", "t.tsv", "/etc/passwd", ""])
def test_other_schemes_are_refused(source: str) -> None:
    with pytest.raises(RecipeError, match="a source begins with file:, https:, npm: or pypi:"):
        fetch(source)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """An https server on the loopback whose certificate urllib trusts: (address, its folder)."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    key, certificate, folder = tmp_path / "key.pem", tmp_path / "cert.pem", tmp_path / "www"
    folder.mkdir()
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", str(key), "-out", str(certificate), *subject),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        yield f"https://localhost:{httpd.server_address[1]}", folder
        httpd.shutdown()


def test_https_is_recorded_at_first_use_and_compared_after(
    server: tuple[str, Path], tmp_path: Path
) -> None:
    address, folder = server
    (folder / "t.tsv").write_text("uno\tun\ndos\tdos\n")
    lock, url = tmp_path / "lock.json", f"{address}/t.tsv"
    assert fetch(url, lock) == PAIRS
    digest = hashlib.sha256((folder / "t.tsv").read_bytes()).hexdigest()
    assert json.loads(lock.read_text()) == {url: digest}
    assert fetch(url, lock) == PAIRS
    (folder / "t.tsv").write_text("uno\tun\ndos\tDOS\n")
    with pytest.raises(RecipeError, match=f"where {digest} was expected"):
        fetch(url, lock)
    with pytest.raises(RecipeError, match=r"cannot fetch .*404"):
        fetch(f"{address}/missing.tsv", lock)


@pytest.mark.slow
def test_npm_and_pypi_packages() -> None:
    """One real package from each registry; skipped where it cannot be reached."""
    for source, first in (
        ("npm:is-number@7.0.0#member=package/LICENSE", "The MIT License (MIT)"),
        ("pypi:six==1.16.0#member=six-1.16.0.dist-info/top_level.txt", "six"),
    ):
        try:
            lines = list(Fetcher(None).lines(source, Counter()))
        except RecipeError as error:
            pytest.skip(str(error))
        assert lines[0] == first
