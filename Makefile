# What can be done here. Every target sets up what it needs; all it takes is Python >= 3.11 (with venv) and make.

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
CODE := core controller agent cli e2e tests tools bench examples
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types e2e bench docs docs-write check relock format clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: ## the environment .venv from the locked requirements
	@$(PYTHON) tools/setup_env.py

demo: setup ## the whole story on this machine; flags by ARGS='--report out.json'
	@$(BIN)/fleetctl demo $(ARGS)

test: setup ## unit, conformance and end-to-end tests
	@$(BIN)/python -m pytest $(ARGS)

e2e: setup ## only the tests that start real processes
	@$(BIN)/python -m pytest e2e $(ARGS)

lint: setup ## format, lint, import contracts, rules of the house
	@$(BIN)/ruff format --check --quiet $(CODE) || { $(BIN)/ruff format --diff --quiet $(CODE); exit 1; }
	@$(BIN)/ruff check --quiet $(CODE)
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m pytest -q tests/house/test_banned_calls.py tests/house/test_third_parties.py \
		tests/house/test_lean_agent.py tests/house/test_tree.py tests/house/test_error_codes.py

format: setup ## put the sources into the house's format
	@$(BIN)/ruff check --quiet --fix-only $(CODE)
	@$(BIN)/ruff format $(CODE)

types: setup ## mypy (strict) and pyright
	@$(BIN)/mypy $(CODE)
	@$(BIN)/pyright

docs: setup ## check that the docs are complete, true and not stale
	@$(BIN)/python -m tools.docs --check
	@$(BIN)/python -m pytest -q tests/house/test_docs.py

docs-write: setup ## write the generated pages of docs/reference anew
	@$(BIN)/python -m tools.docs --write

bench: setup ## the measurements that the docs quote
	@$(BIN)/python -m bench $(ARGS)

check: ## what CI runs: lint, types, docs, test, each with its time
	@$(PYTHON) tools/check.py

relock: ## make requirements/*.txt anew (needs uv; ARGS=--upgrade takes the newest versions)
	@$(PYTHON) tools/relock.py $(ARGS)

clean: ## remove caches and the environment
	rm -rf .venv .venv.lock .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
