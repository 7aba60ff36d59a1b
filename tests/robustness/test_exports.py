"""Exports and pages: killed, two at once, on a full disk. Whole or not there, and nothing hidden stays behind."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import anndata
import pytest

from stbench.files import new_folder

from ..data.pictured import write_picture
from ._caches_tools import TINY, Process, duration, files_of, ran, room

BOARD = Path(__file__).parents[2] / "leaderboards" / "simulated-g50-slide-a19b0686.records.jsonl.xz"
COHORT = ["datasets", "export", "simulated", "out", "--patch-px", "64", *TINY]
WSI = ["datasets", "export", "simulated", "out", "--with-wsi", *TINY]
RUN = ["export", "runs/ridge", "out", "--with-truth"]
PAGES = ["leaderboard", str(BOARD), "--csv", "--out", "pages"]
IN_A_PROCESS = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2); " + (
    "from stbench.cli.main import main; sys.exit(main(sys.argv[2:]))"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a run and a complete cache, and what every export makes there."""
    folder = tmp_path_factory.mktemp("place")
    words = ["run", "--method", "ridge", "--no-controls", "--encoder", "mean-rgb", "--genes", "5", *TINY]
    assert ran([*words, "--out", "runs"], folder, folder / "cache").code == 0
    expected = {}
    for command in (COHORT, WSI, RUN):
        assert ran(command, folder, folder / "cache").code == 0
        expected[tuple(command)] = files_of(folder / "out")
        shutil.rmtree(folder / "out")
    return folder, expected


@pytest.fixture
def here(place, tmp_path):
    """The same, in a folder of the test's own."""
    (tmp_path / "runs").symlink_to(place[0] / "runs")
    return tmp_path, place[0] / "cache", place[1]


def hidden(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def check_killed(command, points, number, here):
    """Kill an export at points of its work: it is whole or not there, and the same command makes it."""
    folder, cache, expected = here
    out = folder / "out"
    length = duration(command, folder, cache)
    killed = 0
    for point in range(points):
        shutil.rmtree(out)
        ended = Process(command, folder, cache).killed(length * (point + 0.5) / points, number)
        killed += ended.code != 0
        assert ended.code in (0, 130, -number), ended
        assert set(hidden(folder)) <= ({".out.part", ".out.lock"} if number == signal.SIGKILL else set())
        if not out.exists():
            again = ran(command, folder, cache)
            assert again.code == 0, again
        assert files_of(out) == expected[tuple(command)]
        if ended.code:
            assert hidden(folder) == []
        for left in (".out.part", ".out.lock"):  # of one that was killed when all was done
            shutil.rmtree(folder / left, ignore_errors=True)
            (folder / left).unlink(missing_ok=True)
    assert killed > points / 3


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_export_that_is_killed_is_whole_or_not_there(number, here):
    """Slow, as every point is a process."""
    check_killed(COHORT, 5, number, here)


@pytest.mark.slow
@pytest.mark.parametrize("command", [COHORT, WSI, RUN], ids=["cohort", "wsi", "run"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_export_is_whole_or_not_there_wherever_it_is_killed(command, number, here):
    check_killed(command, 40, number, here)


def test_of_two_exports_at_once_one_is_refused(here):
    """Slow, as there are two processes."""
    folder, cache, expected = here
    processes = [Process(COHORT, folder, cache) for _ in range(2)]
    first, second = sorted((process.ended() for process in processes), key=lambda ended: ended.code)
    assert first.code == 0
    assert "another process is writing out; wait for it" in second.reason or "found out in use" in second.reason
    assert files_of(folder / "out") == expected[tuple(COHORT)]
    assert hidden(folder) == []


@pytest.mark.parametrize("command", [COHORT, RUN], ids=["cohort", "run"])
def test_the_second_of_two_exports_is_refused_and_harms_nothing(command, here):
    folder, cache, _ = here
    with new_folder(folder / "out") as part:
        (part / "mine").touch()
        reason = ran(command, folder, cache).reason
        assert reason.startswith("another process is writing out; wait for it, or choose another folder")
        assert (part / "mine").exists()
    assert [path.name for path in (folder / "out").iterdir()] == ["mine"]


@pytest.mark.parametrize("command", [COHORT, WSI, RUN], ids=["cohort", "wsi", "run"])
def test_a_full_disk_is_one_line_and_the_same_command_continues(command, here):
    folder, cache, expected = here
    largest = max(len(content) for content in expected[tuple(command)].values())
    for size in (0, 100, 3_000, largest // 2, largest - 1):
        with room(size):
            reason = ran(command, folder, cache).reason
        assert "File too large" in reason
        assert reason.startswith(("expected to write out, found: ", "expected room for the arrays of a task at "))
        assert reason.endswith(("; choose another folder", "; choose another STBENCH_CACHE"))
        assert {path.name for path in folder.iterdir()} == {"runs"}
    assert ran(command, folder, cache).code == 0
    assert files_of(folder / "out") == expected[tuple(command)]


def test_a_full_disk_does_not_end_the_process_either(here):
    """Slow: HDF5 shows what it made of a full disk when the process exits."""
    folder, cache, _ = here
    words = [sys.executable, "-c", IN_A_PROCESS, "20000", *COHORT]
    environment = {**os.environ, "STBENCH_CACHE": str(cache), "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1), ended


def test_pages_on_a_full_disk_are_whole_or_not_there(tmp_path):
    assert ran(PAGES, tmp_path, tmp_path / "cache").code == 0
    expected = files_of(tmp_path / "pages")
    sizes = sorted(len(content) for content in expected.values())
    for size in (0, *(size - 1 for size in sizes)):
        shutil.rmtree(tmp_path / "pages")
        with room(size):
            reason = ran(PAGES, tmp_path, tmp_path / "cache").reason
        assert "File too large" in reason
        assert "--out" in reason
        assert all(expected[name] == content for name, content in files_of(tmp_path / "pages").items())
    assert ran(PAGES, tmp_path, tmp_path / "cache").code == 0
    assert files_of(tmp_path / "pages") == expected


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_results_that_cannot_be_written_are_one_line(tmp_path):
    """Slow, as a process has its own stdout."""
    words = [sys.executable, "-m", "stbench", "metrics", "list"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(words, cwd=tmp_path, env=environment, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 2
    expected = "[Errno 28] No space left on device; free some space, then repeat the command: it continues"
    assert ended.stderr == f"stbench: error: {expected}\n"


@pytest.mark.parametrize("points", [5, pytest.param(40, marks=pytest.mark.slow)])
def test_slides_that_are_predicted_when_killed_are_whole_and_the_same_command_goes_on(points, here):
    """Slow, as every point is a process."""
    folder, cache, _ = here
    (folder / "pictures").mkdir()
    for name in "ab":
        write_picture(folder / "pictures" / f"{name}.png")
    size = ["--um-per-px", "4", "--pitch", "200"]
    words = ["predict", "--model", "runs/ridge", "--slide", "pictures", *size, "--out", "out"]
    length = duration(words, folder, cache)
    expected = {path.name: anndata.read_h5ad(path).X for path in (folder / "out").iterdir()}
    for point in range(points):
        shutil.rmtree(folder / "out", ignore_errors=True)
        ended = Process(words, folder, cache).killed(length * (point + 0.5) / points, signal.SIGKILL)
        assert ended.code in (0, -signal.SIGKILL)
        assert ran(words, folder, cache).code == 0
        found = {path.name: anndata.read_h5ad(path).X for path in (folder / "out").iterdir()}
        assert {name: array.tobytes() for name, array in found.items()} == {
            name: array.tobytes() for name, array in expected.items()
        }
