"""What is shown where."""

import io

import pytest

from stbench.cli import console
from stbench.cli.console import ConsoleReporter, say_aligned, say_table


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run_steps(reporter, n_steps=3):
    with reporter.track("reading", n_steps) as advance:
        for step in range(n_steps):
            advance(note=f"slide {step}")


def test_messages_go_to_stderr(capsys):
    ConsoleReporter().info("[bold] is no markup, and a long line is not folded " + "x" * 200)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "[bold] is no markup, and a long line is not folded " + "x" * 200 + "\n"


def test_quick_things_show_no_progress(capsys, monkeypatch):
    run_steps(ConsoleReporter())
    assert capsys.readouterr() == ("", "")
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    run_steps(ConsoleReporter())
    assert terminal.getvalue() == ""


def test_plain_lines_where_stderr_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(console, "_PATIENCE_S", 0)
    monkeypatch.setattr(console, "_PLAIN_EVERY_S", 0)
    run_steps(ConsoleReporter())
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "reading: 1/3 slide 0\nreading: 2/3 slide 1\nreading: 3/3 in 0 s\n"


def test_a_bar_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    reporter = ConsoleReporter()
    with reporter.track("outer", 2) as outer, reporter.track("inner [x]", 2) as inner:
        for task in reporter._progress.task_ids:
            reporter._show(task)
        outer()
        inner(2, note="here")
        reporter._progress.refresh()
        reporter.info("a message")
    shown = terminal.getvalue()
    for said in ("outer", "inner [x]", "1/2", "2/2", "here", "a message"):
        assert said in shown
    assert not reporter._progress.live.is_started


def test_a_bar_goes_away_with_an_error(monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    reporter = ConsoleReporter()

    def fail():
        with reporter.track("reading", 2):
            reporter._show(reporter._progress.task_ids[0])
            raise ValueError("no number")

    with pytest.raises(ValueError, match="no number"):
        fail()
    assert not reporter._progress.live.is_started
    assert reporter._progress.tasks == []


def test_tables_go_to_stdout_unfolded(capsys):
    say_table(["name", "value"], [["a [b]", "1"], [], ["c", "22" * 200]], numbers=1)
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert told.err == ""
    assert lines[2].startswith("a [b]")
    assert lines[2].endswith(" 1")
    assert lines[-1].endswith("22" * 200)


def test_a_long_value_goes_on_below_itself_on_a_terminal(monkeypatch):
    monkeypatch.setattr("sys.stdout", terminal := Terminal())
    monkeypatch.setenv("COLUMNS", "40")
    say_aligned([("name", "words that go on, and a_name_that_stays_whole"), ("b", "short")])
    assert terminal.getvalue().splitlines() == [
        "name  words that go on, and",
        "      a_name_that_stays_whole",
        "b     short",
    ]


def test_aligned(capsys):
    say_aligned([("a", "1"), ("long", "2")])
    assert capsys.readouterr().out == "a     1\nlong  2\n"
    say_aligned([])
