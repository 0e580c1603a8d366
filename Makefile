# Everything sets itself up: a fresh machine needs Python 3.11 and make.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $(READY)

demo: $(READY) ## Make a real model smaller and faster; report and bundle in out/demo
	$(BIN)/paretune demo

test: $(READY) ## Run the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(READY) ## Check style, types and imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) ## Run the benchmarks in their quick form
	$(BIN)/python -m bench.main_job --quick
	$(BIN)/python -m bench.truth --quick
	$(BIN)/python -m bench.techniques --quick
	$(BIN)/python -m bench.training --quick

clean: ## Remove the environment and all output
	rm -rf .venv out build dist
