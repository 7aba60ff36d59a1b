"""What the README promises."""

import re
import shlex
from pathlib import Path

import pytest

from stbench.cli.main import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line.split("#")[0]) for line in re.findall(r"^    (stbench .*)$", README, re.MULTILINE)]


def test_the_method_shown_is_the_one_that_is_tested():
    (shown,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert shown == (ROOT / "tests/plugin/stbench-knn/stbench_knn.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_shown_exists_with_its_options(words, capsys):
    command = [word for word in words[1:3] if not word.startswith("-") and word.islower() and "/" not in word]
    command = command[:1] if command[0] in ("run", "leaderboard") else command
    assert app([*command, "--help"], prog_name="stbench", standalone_mode=False) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in words if word.startswith("--"))
