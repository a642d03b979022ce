# make run     watch this host with examples/run.toml
# make test    run the tests                                  (TESTS="tests/core -k store" for some of them)
# make check   style, types and import laws
# make format  let ruff rewrite what it can
# make bench   the benchmarks, held against their limits      (BENCH=evaluator for one of them)
# make chaos   every kill, failing call, power cut and bad day the tests have, for hours  (CHAOS=tests/chaos for some)
# make soak    ten minutes of watching, with memory, CPU and descriptors counted
#
# Each creates what it needs: .venv with the versions of constraints.txt. Needs Python 3.11 or newer.

SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
CONFIG ?= examples/run.toml
ARGS   ?=
TESTS  ?=
BENCH  ?=
CHAOS  ?= tests/runtime/ledger tests/chaos tests/runtime/test_receiver_faults.py

# Build back ends are installed by pip in an environment of their own, which `-c` does not reach.
# The first variable is read by pip up to 25, the second by later ones.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# One line for each package that pip fetches, instead of its silence or its five lines. Errors are on stderr.
PIP_INSTALL = set -o pipefail; $(BIN)/python -m pip install --no-input --progress-bar off
PROGRESS = while read -r word name _; do case "$$word" in \
    Collecting) echo "  $$name" ;; esac; done

.PHONY: help run test check format bench chaos soak clean

help:
	@sed -n 's/^# make/make/p' Makefile

run: $(VENV)/.installed-run
	@exec $(BIN)/python -m engine --config $(CONFIG) $(ARGS)

# All tests come in two parts: those that compute, side by side, a file to each process; then alone those that start
# processes or watch real time. TESTS is for pytest as it is.
test: $(VENV)/.installed-dev
ifeq ($(strip $(TESTS)),)
	@code=0; $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile -m 'not process' || code=$$?; \
	((code > 1)) || $(BIN)/python -m pytest -m process || code=$$?; \
	((code == 0)) || echo "make test: not all passed; there is a summary for each of the two parts" >&2; exit $$code
else
	@$(BIN)/python -m pytest $(TESTS)
endif

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev
	@$(BIN)/python -m benchmarks $(BENCH) --check

chaos: $(VENV)/.installed-dev
	@LONGWATCH_CHAOS=1 $(BIN)/python -m pytest -s --timeout 3600 $(CHAOS)

soak: $(VENV)/.installed-dev
	@$(BIN)/python -m benchmarks soak --duration 10m --check

clean:
	@rm -rf $(VENV) build dist .ci/venv-* .ci/wheel .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "longwatch needs Python 3.11 or newer; '$(PYTHON)' is: $$($(PYTHON) --version 2>&1 || true)"; \
	    echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)"; \
	    exit 1; } >&2
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	    echo "Could not create $(VENV). On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.installed-run: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing longwatch and what it needs into $(VENV) (half a minute, once)"
	@$(PIP_INSTALL) -e . | $(PROGRESS)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing longwatch and its development tools into $(VENV) (half a minute, once)"
	@$(PIP_INSTALL) -e '.[dev]' | $(PROGRESS)
	@touch $@ $(VENV)/.installed-run
