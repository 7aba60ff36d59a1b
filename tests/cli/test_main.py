"""How commands end: help, version, one line for a mistake, a traceback on demand."""

import os
import subprocess
import sys

import pytest

from stbench import __version__
from stbench.cli.main import app
from stbench.errors import RunFailedError, UnknownNameError


def test_version(stbench):
    ended = stbench("--version")
    assert (ended.code, ended.out) == (0, f"stbench {__version__}\n")


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_names_every_command(stbench, words):
    ended = stbench(*words)
    assert ended.code == 0
    for command in ("run", "leaderboard", "methods", "datasets", "metrics"):
        assert f"\n  {command} " in ended.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rum"], "rum"),
        (["run"], "--method"),
        (["run", "--metod", "ridge"], "--metod"),
        (["run", "--method", "ridge", "--genes", "many"], "--genes"),
        (["methods"], "command"),
        (["methods", "show"], "NAME"),
        (["leaderboard"], "RUNS"),
    ],
)
def test_wrong_usage_is_one_line(stbench, words, said):
    assert said.lower() in stbench(*words).reason.lower()


def test_debug_anywhere_shows_the_traceback(stbench):
    with pytest.raises(UnknownNameError):
        stbench("methods", "show", "ridg", "--debug")
    with pytest.raises(UnknownNameError):
        stbench("--debug", "methods", "show", "ridg")


def test_interruption(stbench, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("stbench.catalogue.metric_cards", interrupt)
    ended = stbench("metrics", "list")
    assert ended.code == 130
    assert "Traceback" not in ended.err


def test_a_failure_that_is_no_mistake_of_the_user(stbench, monkeypatch):
    def fail(*_):
        raise RunFailedError("two\nlines")

    monkeypatch.setattr("stbench.catalogue.metric_cards", fail)
    ended = stbench("metrics", "list")
    assert (ended.code, ended.err) == (1, "stbench: error: two lines\n")


def test_process_ends_with_one_line_and_code_2():
    ended = subprocess.run([sys.executable, "-m", "stbench", "methods", "show", "ridg"], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("stbench: error: unknown method 'ridg': did you mean ridge, ridge-rgb, ridge-slide?")
    assert ended.stderr.count("\n") == 1


def test_start_up_imports_nothing_heavy():
    code = (
        "import sys; from stbench.cli.main import main; main(['run', '--help']); main(['methods', 'list']); "
        "print([name for name in ('torch', 'scanpy', 'anndata', 'sklearn', 'cv2', 'numpy') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_methods_that_are_no_networks_load_no_torch(tmp_path):
    """Neither in the command's process nor in its workers."""
    said = ["run", "--dataset", "simulated", "--genes", "5", "--method", "ridge", "--out", str(tmp_path / "out")]
    said += ["--simulate", "n_patients=1", "--simulate", "n_spots=20", "--simulate", "n_genes=20", "--no-controls"]
    (tmp_path / "spy.py").write_text(
        "from stbench.methods.controls.ridge import Ridge\n"
        "class Spy(Ridge):\n"
        "    def refuse(self, train, test, context):\n"
        "        import sys\n"
        "        return f'torch loaded: {\"torch\" in sys.modules}'\n"
    )
    said[said.index("ridge")] = f"{tmp_path / 'spy.py'}:Spy"
    code = f"import sys; from stbench.cli.main import main; main({said!r}); print('torch' in sys.modules)"
    here = {**os.environ, "STBENCH_CACHE": str(tmp_path / "cache")}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=here)
    assert ended.stdout.splitlines()[-1] == "False", ended.stderr
    assert "torch loaded: False" in ended.stdout + ended.stderr


def test_every_option_is_explained():
    import typer

    def walk(command):
        yield command
        for child in getattr(command, "commands", {}).values():
            yield from walk(child)

    for command in walk(typer.main.get_command(app)):
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{command.name} {parameter.name}"
