# Everything a person does with this repository, one command each. `make` alone lists them.
# Needs a Python of at least 3.11 and nothing else; the rest comes from requirements.lock into .venv.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
JOBS ?= 2
TORCH ?= 1
BIN := .venv/bin
READY := .venv/.ready
WITH_TORCH := $(if $(filter 0 no,$(TORCH)),,.venv/.torch)

# A Python that somebody named wins over the one .venv was made with; the default one does not.
ifneq ($(origin PYTHON),file)
version = $(shell "$(1)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
ifneq ($(call version,$(PYTHON)),$(call version,$(BIN)/python))
.PHONY: $(READY)
endif
endif

.PHONY: help setup demo test bench bench-peers campaign conformance lint

help: ## list these commands
	@echo "Gatewright: from a trained model to a production endpoint its owner can answer for."
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo "A certain Python: make demo PYTHON=python3.13. More test workers: make test JOBS=8."
	@echo "Without torch, whose tests are then skipped: make test TORCH=0."

setup: $(READY) ## make .venv and install the locked packages into it

demo: $(READY) ## one model's whole life, told in under a minute
	@$(BIN)/gatewright demo

test: lint $(WITH_TORCH) ## everything that must hold: lint, types, contracts, tests
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

bench: $(READY) ## measure the demo's steps, --help and the latency of one prediction
	@$(BIN)/python bench/run.py

bench-peers: $(READY) ## the endpoint beside six other servers, each in its own environment
	@$(BIN)/python bench/peers.py --small $${GATEWRIGHT_ADULT:+"$$GATEWRIGHT_ADULT"}

conformance: $(READY) ## clients of other projects, each in its own environment, against a served endpoint
	@$(BIN)/python bench/conformance.py

campaign: $(READY) ## the long measurements, for an evening
	@$(BIN)/python bench/campaign.py

lint: $(READY) ## style, format, types and the direction of imports
	@echo "Linting, type checking, and checking which package imports which."
	@$(BIN)/python -m ruff check --quiet .
	@$(BIN)/python -m ruff format --check --quiet . \
		|| { echo "Some files are not formatted; run: .venv/bin/ruff format"; exit 1; }
	@$(BIN)/python -m mypy
	@$(BIN)/lint-imports --no-logo

$(READY): requirements.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Gatewright needs Python 3.11 or newer, and \"$(PYTHON)\" is not one." >&2; \
		echo "Name another one: make $(or $(firstword $(MAKECMDGOALS)),setup) PYTHON=python3.13" >&2; \
		exit 1; }
	@wanted=$$("$(PYTHON)" -c 'import sys; print(sys.version_info[:2])'); \
	found=$$($(BIN)/python -c 'import pip, sys; print(sys.version_info[:2])' 2>/dev/null || echo none); \
	if [ "$$found" = none ] || { [ "$(origin PYTHON)" != file ] && [ "$$found" != "$$wanted" ]; }; then \
		echo "Making .venv with $$("$(PYTHON)" --version)."; \
		"$(PYTHON)" -m venv --clear .venv || { \
			echo "Python cannot make environments here; on Debian and Ubuntu: apt install python3-venv" >&2; \
			exit 1; }; \
	fi
	@echo "Installing the packages that requirements.lock pins; the first time takes a minute or two."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input \
		--require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input \
		--no-deps --no-build-isolation --editable .
	@touch $(READY)
	@echo "Ready. Next: make demo, or .venv/bin/gatewright --help"

# Apart from the lock: what pip takes for torch differs by machine (see requirements-torch.txt).
.venv/.torch: requirements-torch.txt | $(READY)
	@echo "Installing torch for the tests of networks; make test TORCH=0 goes without."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input --requirement requirements-torch.txt
	@touch $@
