# Two commands set up everything they need: make demo, make test.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
WORKERS ?= 2

.PHONY: demo test test-slow boards check format docs clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    simulated cohort: FLAG (small) and the controls, one leaderboard, one page to look at"
	@echo "make test    the test suite"
	@echo "make test-slow  what takes longer: kills, damaged files and full disks by the dozen"
	@echo "make boards  every table of leaderboards/ from its commands; many hours, may be stopped, goes on"
	@echo "make check   formatter, linter, type checker"
	@echo "make docs    the manual as a site: build/manual/index.html"

.venv/.ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "stbench needs Python 3.11, 3.12 or 3.13: install one, or name it with make PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

.venv/.docs: .venv/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

demo: .venv/.ready
	$(BIN)/stbench run --dataset simulated --method flag --preset small --genes 50 --out runs/demo
	$(BIN)/stbench report runs/demo --out runs/demo.html
	@echo "Open runs/demo.html in a browser."

test: .venv/.ready
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

test-slow: .venv/.ready
	$(BIN)/python -m pytest -m slow

boards: .venv/.ready
	$(BIN)/python benchmarks/boards.py

check: .venv/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/.ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/.docs
	$(BIN)/python -m sphinx -E -W --keep-going -q -c docs -d build/doctrees . build/manual

clean:
	rm -rf .venv build docs/reference runs
