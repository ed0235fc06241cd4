# `make help` lists what can be done. Everything installs into .venv in the checkout.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
DATA ?=
CACHE ?= build/cache

# The first Python 3.12 that truly runs: a name on the path may be a shim that does not.
FIND_PYTHON = for p in $(PYTHON) python3.12 $$HOME/.pyenv/versions/3.12*/bin/python3.12 \
	$${PYENV_ROOT:-/nonexistent}/versions/3.12*/bin/python3.12 /usr/local/bin/python3.12 \
	/usr/bin/python3.12 python3 python "$$(uv python find 3.12 2>/dev/null)"; do \
	if "$$p" -c 'import sys, venv; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null; \
	then echo "$$p"; exit; fi; done

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(BIN)/python:
	@python="$$($(FIND_PYTHON))"; if [ -z "$$python" ]; then \
	echo "No working Python 3.12 found (Bytewax 0.21.1 has no wheel for a later one)." >&2; \
	echo "Install one, for example 'pyenv install 3.12' or 'uv python install 3.12'," >&2; \
	echo "or name it: make PYTHON=/path/to/python3.12 run" >&2; exit 2; fi; \
	"$$python" -m venv .venv && $(BIN)/python -m pip install -q --upgrade pip

.venv/.core: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q -e .
	@touch $@

.venv/.full: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q -e '.[exchange,train,dev]'
	@touch $@ .venv/.core .venv/.exchange

.venv/.exchange: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q -e '.[exchange]'
	@touch $@ .venv/.core

install: .venv/.core ## install the engine (no torch)

run: .venv/.core ## install, then replay the shipped recording; the dashboard shows it live
	$(BIN)/nextgen demo --serve

exchange: .venv/.exchange ## serve the fake venue on port 8900, for `nextgen run --exchange`
	$(BIN)/nextgen exchange

test: .venv/.full lint type layers ## install everything, then lint, types, layers, doctests and tests
	$(BIN)/python -m pytest -q

lint: .venv/.full ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: .venv/.full ## strict mypy
	$(BIN)/mypy

layers: .venv/.full ## who may import whom
	$(BIN)/lint-imports

acceptance: .venv/.full ## the long drills, full length
	$(BIN)/python -m pytest -q tests/acceptance

bench: .venv/.exchange ## speed: p50 and p99 of each stage, raw lines to signals
	$(BIN)/python -m tests.benchmarks.replay
	$(BIN)/python -m tests.benchmarks.models
	$(BIN)/python -m tests.benchmarks.live
	$(BIN)/python -m tests.benchmarks.api

train: .venv/.full ## train every model from DATA=folder
	@test -n "$(DATA)" || { echo "say where the data are: make train DATA=folder" >&2; exit 2; }
	for lang in en ja; do \
	  $(BIN)/python -m models.finbert.train --lang $$lang --data "$(DATA)" --out onnx || exit 1; done
	for interval in 1s 1m; do \
	  $(BIN)/python -m models.lstm_transformer.train --interval $$interval --data "$(DATA)" --out onnx --cache "$(CACHE)" && \
	  $(BIN)/python -m models.ppo.train --interval $$interval --data "$(DATA)" --out onnx --cache "$(CACHE)" || exit 1; \
	done

report: .venv/.full ## measure all models on unseen data from DATA=folder, into docs/evaluation.html
	@test -n "$(DATA)" || { echo "say where the data are: make report DATA=folder" >&2; exit 2; }
	$(BIN)/python -m flows.report --data "$(DATA)" --cache "$(CACHE)"

golden: .venv/.full ## rewrite the golden replays after a wanted change of decisions
	$(BIN)/python -m tests.integration.golden

diagram: .venv/.core ## redraw the dataflow in flows/README.md from the flow itself
	$(BIN)/python -m flows.diagram

clean: ## remove what was installed and built
	rm -rf .venv build runs

.PHONY: help install run exchange test lint type layers acceptance bench train report golden diagram clean
