# Everything a fresh machine needs: Python 3.11 or newer with venv, and a package index. See README.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNS ?= runs/quickstart
# Of the tests: one more than cores, since many wait for a time to run out.
PROCESSES ?= $(shell expr $$(nproc) + 1)
# BENCHMARKS names a folder of public benchmark files (HumanEval.jsonl.gz, mbpp.jsonl, ...); the tests that need one are
# skipped without it.

.PHONY: install quickstart test lint soak clean

# Made anew when what is to be installed changes, otherwise nothing is done.
$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV)"; start=$$(date +%s); \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]' && \
	  echo "environment: $$(du -sm $(VENV) | cut -f1) MB installed in $$(( $$(date +%s) - start )) s, downloads included"
	@touch $@

install: $(VENV)/.installed

quickstart: install
	$(BIN)/python recipes/quickstart.py $(RUNS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: install lint
	$(BIN)/python -m pytest -q -m "not soak" --numprocesses $(PROCESSES) --dist worksteal --durations 10

# Longer than `make test` allows; run by hand before a release.
soak: install
	$(BIN)/python -m pytest -q -m soak

clean:
	rm -rf $(VENV) runs
