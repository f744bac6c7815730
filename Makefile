# `make demo` and `make test` need Python >= 3.11 and nothing else: each sets itself up.
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
# Compiled at install time: importing pandas from source on every start costs a second.
export UV_COMPILE_BYTECODE := 1
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint bench clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

.venv/.ready: pyproject.toml uv.lock
	@test -x $(BIN)/uv || { $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9; }
	$(BIN)/uv sync --quiet --locked --inexact --all-extras
	@touch $@

demo: .venv/.ready  ## simulate a week on a small site, publish its statistics, leave it running (ARGS="--no-serve")
	$(BIN)/impersonal demo $(ARGS)

test: .venv/.ready lint  ## lint, type-check and run every test (ARGS go to pytest)
	$(BIN)/pytest -n 2 $(ARGS)

lint: .venv/.ready  ## ruff and strict mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.ready  ## measure the figures of the README
	$(BIN)/python -m tests.benchmarks $(ARGS)

clean:  ## remove what make installed
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache
