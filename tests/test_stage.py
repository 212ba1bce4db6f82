"""The stage runner, on commands of a line."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.manifest import Manifest, chain

COPY = "import sys, pathlib; pathlib.Path(sys.argv[2]).joinpath('o.txt').write_bytes(open(sys.argv[1], 'rb').read())"  # noqa: E501


def run(
    exp: Path, out: str, *command: str, inputs: tuple[Path, ...] = (), options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "pipeline.stage", "3", "A stage", "--exp", str(exp)),
            *("--in", *map(str, inputs), "--out", str(exp / out), *options, "--", *command),
        ],
        capture_output=True,
        text=True,
    )


def copy(exp: Path, source: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-c", COPY, str(source), str(exp / "out"))
    return run(exp, "out", *command, inputs=(source,), options=options)


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    path = tmp_path / "exp dir, with comma"
    path.mkdir()
    (path / "in.txt").write_text("hello\n")
    return path


def test_runs_once_and_says_why_it_runs_again(exp: Path) -> None:
    source = exp / "in.txt"
    assert "runs because: never run" in copy(exp, source).stdout
    assert (exp / "out" / "o.txt").read_text() == "hello\n"
    assert "A stage: up to date" in copy(exp, source).stdout
    source.write_text("changed\n")
    assert "runs because: input in.txt changed" in copy(exp, source).stdout
    (exp / "out" / "o.txt").write_text("spoiled\n")
    assert "o.txt was changed after the stage made it" in copy(exp, source).stdout
    assert (exp / "out" / "o.txt").read_text() == "changed\n"
    assert "runs because: forced" in copy(exp, source, "--force").stdout


def test_a_touched_file_is_not_a_change(exp: Path) -> None:
    copy(exp, exp / "in.txt")
    os.utime(exp / "out" / "o.txt")
    os.utime(exp / "in.txt")
    assert "up to date" in copy(exp, exp / "in.txt").stdout


def test_a_moved_experiment_is_still_done(exp: Path) -> None:
    copy(exp, exp / "in.txt")
    moved = exp.with_name("elsewhere")
    exp.rename(moved)
    assert "up to date" in copy(moved, moved / "in.txt").stdout


def test_an_option_is_named_with_old_and_new_value(exp: Path) -> None:
    script = "import sys, pathlib; pathlib.Path(sys.argv[2], 'f').write_text('')"
    out = str(exp / "out")
    run(exp, "out", sys.executable, "-c", script, "--out", out, "--size", "1")
    again = run(exp, "out", sys.executable, "-c", script, "--out", out, "--size", "2")
    assert "option --size changed from 1 to 2" in again.stdout


def test_manifest_says_what_was_made_of_what(exp: Path) -> None:
    copy(exp, exp / "in.txt")
    manifest = Manifest.read(exp / "out")
    assert manifest is not None
    record = manifest.files["o.txt"]
    # printf 'hello\n' | sha256sum
    hello = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    assert (record.sha256, record.bytes, record.lines) == (hello, 6, 1)
    assert list(manifest.inputs(exp / "out").items()) == [(exp / "in.txt", hello)]
    assert any(hello in line and "raw" in line for line in chain(exp / "out" / "o.txt"))


def test_failure_shows_the_end_of_the_log_and_leaves_nothing(exp: Path) -> None:
    script = f"echo first; echo last words >&2; touch '{exp}/out/half'; exit 7"
    result = run(exp, "out", "bash", "-c", f"mkdir -p '{exp}/out.partial'; {script}")
    assert result.returncode == 1
    assert "exit code 7" in result.stderr and "last words" in result.stderr
    log = exp / "logs" / "3-out.log"
    assert str(log) in result.stderr
    assert log.read_text().startswith("first\n")
    assert not (exp / "out").exists()


def test_a_failure_inside_a_pipe_fails_the_stage(exp: Path) -> None:
    result = run(exp, "out", "bash", "-c", "false | cat")
    assert result.returncode == 1 and not (exp / "out").exists()


def test_a_killed_command_is_named(exp: Path) -> None:
    result = run(exp, "out", "bash", "-c", "kill -9 $$")
    assert "killed by SIGKILL" in result.stderr


def test_an_old_result_stays_while_the_new_one_fails(exp: Path) -> None:
    copy(exp, exp / "in.txt")
    run(exp, "out", "bash", "-c", "exit 1")
    assert (exp / "out" / "o.txt").read_text() == "hello\n"


def test_a_half_made_directory_is_only_used_with_resume_and_the_same_key(exp: Path) -> None:
    # The runner replaces whole arguments, so the path goes in by one.
    script = 'echo x >> "$0/n"; test $(wc -l < "$0/n") -ge "$1"'
    out = str(exp / "out")
    assert run(exp, "out", "bash", "-c", script, out, "2", options=("--resume",)).returncode == 1
    changed = run(exp, "out", "bash", "-c", script, out, "3", options=("--resume",))
    assert changed.returncode == 1  # another key: not thrown away unless one says so
    assert "option (command) changed from" in changed.stderr and "--force 3" in changed.stderr
    assert (exp / "out.partial" / "n").read_text() == "x\n"
    (exp / "out.partial" / "n").write_text("old\nwork\n")
    run(exp, "out", "bash", "-c", script, out, "3", options=("--resume", "--force"))
    assert (exp / "out.partial" / "n").read_text() == "x\n"  # begun anew
    assert run(exp, "out", "bash", "-c", script, out, "3", options=("--resume",)).returncode == 1
    final = run(exp, "out", "bash", "-c", script, out, "3", options=("--resume",))
    assert "goes on where it was interrupted" in final.stdout
    assert (exp / "out" / "n").read_text() == "x\nx\nx\n"
    assert run(exp, "two", "bash", "-c", script, str(exp / "two"), "2").returncode == 1
    assert run(exp, "two", "bash", "-c", script, str(exp / "two"), "2").returncode == 1


def test_a_directory_that_no_stage_made_is_not_replaced(exp: Path) -> None:
    (exp / "out").mkdir()
    (exp / "out" / "thesis.txt").write_text("years of work")
    result = run(exp, "out", "true", options=("--force",))
    assert result.returncode == 1 and "move it away" in result.stderr
    assert (exp / "out" / "thesis.txt").read_text() == "years of work"


def test_a_missing_input_is_one_sentence(exp: Path) -> None:
    result = run(exp, "out", "true", inputs=(exp / "nothing",))
    assert result.returncode == 1
    assert "nothing does not exist; run the stage that makes it first" in result.stderr
    assert "Traceback" not in result.stderr


def test_list_says_done_stale_and_never_run(exp: Path) -> None:
    source = exp / "in.txt"
    assert "never run" in copy(exp, source, "--mode", "list").stdout
    copy(exp, source)
    assert copy(exp, source, "--mode", "list").stdout.rstrip().endswith("done")
    stale = copy(exp, source, "--mode", "list", "--stale", str(source))
    assert "its input in.txt will be made anew" in stale.stdout
    source.write_text("other\n")
    listed = copy(exp, source, "--mode", "list")
    assert "stale: input in.txt changed" in listed.stdout and listed.returncode == 10


def test_the_code_of_a_module_and_of_what_it_imports_counts(tmp_path: Path) -> None:
    from pipeline.stage import Stage

    command = [sys.executable, "-m", "preprocess.clean"]
    key = Stage("1", "t", tmp_path, [], tmp_path / "o", command).key()
    assert {"preprocess/clean.py", "preprocess/normalise.py", "pipeline/lines.py"} <= set(
        key["code"]
    )
    assert "score/metrics.py" not in key["code"]
    assert key["libraries"]["zstandard"]
    # A preset is named by a word, which is no file.
    command = [sys.executable, "-m", "train.fairseq", "--preset", "few"]
    key = Stage("1", "t", tmp_path, [], tmp_path / "o", command).key()
    assert "train/presets/few.yaml" in key["code"]


def test_a_lock_that_the_command_adds_to_is_no_input(tmp_path: Path) -> None:
    from pipeline.stage import Stage

    lock = tmp_path / "sources.json"
    stage = Stage("1", "t", tmp_path, [], tmp_path / "o", ["python", "--lock", str(lock)])
    before = stage.key()
    lock.write_text("{}")
    assert stage.key() == before


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("mount"), reason="needs root to mount a small tmpfs"
)
def test_a_full_disk_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", small])
    if mounted.returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        script = 'head -c 200000 /dev/zero > "$0/big"'
        result = run(small, "out", "bash", "-c", script, str(small / "out"))
        assert result.returncode == 1
        assert "No space left" in result.stderr
        assert not (small / "out").exists()
    finally:
        subprocess.run(["umount", small], check=True)


def test_key_file_is_json_and_goes_away(exp: Path) -> None:
    run(exp, "out", "false")
    assert json.loads((exp / "out.partial.key").read_text())["command"] == []
    run(exp, "out", "true")
    assert not (exp / "out.partial.key").exists()


@pytest.mark.slow
def test_the_lock_is_held_by_whoever_writes(finished) -> None:
    with open(finished.exp / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        output = finished.run(code=2)
    assert "another run is at work in" in output
