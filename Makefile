# Every target does its own set-up: a virtual environment in .venv with what is pinned. PYTHON=... chooses the interpreter.
# What only looks at Relay gets Relay's own packages; what works on it gets the tests' tools on top, and nothing twice.

VENV := .venv
BIN := $(VENV)/bin
PRODUCT := $(VENV)/.product
STAMP := $(VENV)/.installed
COMPILED := $(VENV)/.compiled
JOBS := 5

# Programs are started a hundred times, and without their compiled files each would compile all it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo test types suite acceptance proofs bench pages pictures crash powercut zombie constraints clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## make .venv and install Relay and the tests' tools into it

demo: $(PRODUCT) ## watch one job make the whole round trip
	@exec $(BIN)/relay demo $(ARGS)

test: $(STAMP) ## lint, types, and the tests on SQLite and on a real PostgreSQL
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory -j2 types suite

types: $(STAMP)
	$(BIN)/mypy

# Once for all processes of the suite, which would each compile everything at the same time.
$(COMPILED): $(STAMP)
	@$(BIN)/python -m pytest -qq --collect-only >/dev/null || true
	@touch $@

# More processes than processors, because tests wait for other programs. Each begins with its part of the suite; who is done
# takes over from the others.
suite: $(COMPILED)
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal -m "not slow and not acceptance" $(ARGS)

acceptance: $(COMPILED) ## whole programs: used as the guides say, killed under load, cut off, restored from a copy, looked at in Chromium
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal -m "acceptance and not slow" $(ARGS)

proofs: $(STAMP) ## the slow tests, which both leave out: crash points, zombies, outages
	$(BIN)/python -m pytest -q -m slow $(ARGS)

bench: $(STAMP) ## measure Relay beside floors of the same run
	@$(BIN)/python -m tests.bench $(ARGS)

pages: $(STAMP) ## put a million results under every page of the dashboard and time it
	@$(BIN)/python -m tests.bench.dashboard $(ARGS)

pictures: $(STAMP) ## take the dashboard's pictures for README and guide anew, with the system's Chromium
	@$(BIN)/python -m tests.browser.pictures $(ARGS)

# The proofs of the promise. RELAY_CRASH=long makes each of them many times as long.
crash: $(STAMP) ## kill Relay under load, take its disk and its database away, and count what was lost
	@$(BIN)/python -m tests.crash $(ARGS)
	@$(BIN)/python -m tests.crash.points
	@$(BIN)/python -m tests.crash.outage
	@$(BIN)/python -m tests.crash.replay
	@$(BIN)/python -m tests.crash.duplicates

powercut: $(STAMP) ## open 1,000 disk images of a power cut and look for every acknowledged notification
	@$(BIN)/python -m tests.crash.durable
	@$(BIN)/python -m tests.crash.powercut $(ARGS)

zombie: $(STAMP) ## stop workers past their lease and wake them, race for claims: who lost a lease changes nothing
	@$(BIN)/python -m tests.crash.zombie $(ARGS)
	@$(BIN)/python -m tests.crash.claims

# pip is asked for the exact files and for nothing beside them: left to look at dependencies, it takes the newest version of one
# that is wanted with an extra, whatever is pinned. Relay itself comes from here, so it has no hash. Python compiles what is really
# used when it is used, which is a small part.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: --no-compile

$(PRODUCT): pyproject.toml deploy/requirements.txt
	@test -x $(BIN)/pip || { echo "making a virtual environment in $(VENV)" >&2 && $(MAKE) --no-print-directory $(BIN)/pip; }
	@echo "installing Relay into it, with the packages that deploy/requirements.txt pins: once, about half a minute" >&2
	@$(PIP) -r deploy/requirements.txt
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(STAMP): $(PRODUCT) constraints.txt
	@echo "installing the tests' tools, as constraints.txt pins them" >&2
	@$(PIP) -r constraints.txt
	@touch $@

# Debian's Python has no ensurepip unless python3-venv is installed, and its pip refuses the system's own packages (PEP 668).
# Each way is tried in turn; the last words are for a person.
$(BIN)/pip:
	@set -eu; \
	for candidate in $${PYTHON:-python3 python3.13 python3.12 python3.11}; do \
	    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$${python:-}" ]; then \
	    echo "Relay needs Python 3.11 or newer, and $${PYTHON:-python3} is not that. Install one, or name it: make install PYTHON=/path/to/python3.11" >&2; \
	    exit 1; \
	fi; \
	rm -rf $(VENV); \
	if "$$python" -m venv $(VENV) >/dev/null 2>&1; then exit 0; fi; \
	rm -rf $(VENV); \
	if "$$python" -m venv --without-pip $(VENV) && "$$python" -m pip --python $(BIN)/python install --quiet pip; then exit 0; fi; \
	rm -rf $(VENV); \
	if command -v uv >/dev/null && uv venv --quiet --seed --python "$$python" $(VENV); then exit 0; fi; \
	rm -rf $(VENV); \
	echo "$$python cannot make a virtual environment with pip. On Debian or Ubuntu: apt-get install python3-venv" >&2; \
	exit 1

# The resolver lives in an environment of its own: Relay does not need it. The image gets the same pins without the tests' tools.
LOCK := build/resolver/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	--no-emit-index-url --no-emit-find-links

constraints: ## resolve pyproject.toml anew into constraints.txt
	@test -x build/resolver/bin/uv || { $(MAKE) --no-print-directory VENV=build/resolver build/resolver/bin/pip && build/resolver/bin/python -m pip install --quiet uv; }
	@{ echo "# Made by 'make constraints' from pyproject.toml: every package with the hashes of its files."; \
	   echo 'setuptools>=80' | $(LOCK) --upgrade --extra test pyproject.toml -; } > build/constraints.txt
	@grep -oE '^[a-z0-9.-]+==[^ ]+( ; [^\\]+)?' build/constraints.txt > build/pins.txt
	@{ echo "# Made by 'make constraints': what the image installs, pinned as in constraints.txt."; \
	   echo 'setuptools>=80' | $(LOCK) --constraint build/pins.txt --extra postgres --extra otel pyproject.toml -; } > build/requirements.txt
	@mv build/constraints.txt constraints.txt
	@mv build/requirements.txt deploy/requirements.txt

clean: ## delete what the targets above have made (not the data in .relay)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
