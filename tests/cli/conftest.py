"""The command line in this process, in an empty folder, with a cache of its own."""

from dataclasses import dataclass

import pytest

from stbench.cli.main import main

TINY = [
    *("--simulate", "n_patients=3", "--simulate", "sections_per_patient=1"),
    *("--simulate", "n_spots=16", "--simulate", "um_per_px=4", "--simulate", "n_genes=30"),
]


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def reason(self):
        """The one line on stderr."""
        assert self.code == 2, self
        (line,) = self.err.splitlines()
        assert line.startswith("stbench: error: ")
        return line.removeprefix("stbench: error: ")


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache that all tests share, as processes of one user do."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def stbench(capsys, monkeypatch, tmp_path, cache):
    """Runs a command and says how it ended."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STBENCH_CACHE", str(cache))
    monkeypatch.delenv("STBENCH_DATA", raising=False)

    def run(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        told = capsys.readouterr()
        return Ended(code, told.out, told.err)

    return run
