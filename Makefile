# Everything that one does with a checkout. .ci/run and the pre-commit hooks call these targets, nothing else.
#
# All that is needed is make, git and python3 >= 3.11; the environment is made in .venv by the first target that needs it.
# Another interpreter: make PYTHON=/path/to/python3.12 test

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
BOOTSTRAP := $(or $(PYTHON),python3) tools/bootstrap_venv.py $(if $(PYTHON),--python $(PYTHON))
PACKAGES := blobs cli client engine protos pycaffe server worker
LINT_PATHS := $(PACKAGES) $(wildcard tests tools examples benchmarks)
TESTS ?=
PYTEST_ARGS ?=

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- the environment: one stamp for each set of extras, made anew when pyproject.toml changes ---

$(VENV)/.stamp-%: pyproject.toml tools/bootstrap_venv.py
	$(BOOTSTRAP) --venv $(VENV) -- -e '.[$*]'
	@touch $@

# --- running ---

# One BLAS thread: the net is small, and its four processes share the cores.
.PHONY: demo
demo: $(VENV)/.stamp-demo ## train the digits example, its Python layers in worker processes
	OPENBLAS_NUM_THREADS=1 $(BIN)/farlayer train --solver examples/digits/solver.prototxt \
		--python-path examples/digits --plot digits.png

.PHONY: bench
bench: $(VENV)/.stamp-test ## run the benchmarks
	@scripts=$$(ls benchmarks/bench_*.py 2>/dev/null || true); \
	if [ -z "$$scripts" ]; then echo "there are no benchmarks/bench_*.py yet"; exit 0; fi; \
	for script in $$scripts; do echo "== $$script"; $(BIN)/python $$script; done

.PHONY: bench-engine
bench-engine: $(VENV)/.stamp-test ## time published nets layer by layer (with the torch extra, with its kernels, too)
	$(BIN)/python benchmarks/bench_engine.py

# --- testing ---

.PHONY: test
test: $(VENV)/.stamp-test ## run the tests (TESTS=tests/blobs PYTEST_ARGS=-x to narrow it)
	$(BIN)/python -m pytest $(TESTS) $(PYTEST_ARGS)

.PHONY: test-oldest
test-oldest: ## run the tests on the oldest dependencies that are supported (tools/oldest.txt)
	$(BOOTSTRAP) --python $(or $(PYTHON),python3.11) --venv .venv-oldest -- -e '.[test]' --constraint tools/oldest.txt
	.venv-oldest/bin/python -m pytest $(TESTS) $(PYTEST_ARGS)

.PHONY: test-torch
test-torch: ## run the engine's tests with PyTorch's kernels (tools/torch.txt)
	$(BOOTSTRAP) --python $(or $(PYTHON),python3.11) --venv .venv-torch -- -e '.[test,torch]' --constraint tools/torch.txt
	.venv-torch/bin/python -m pytest $(or $(TESTS),tests/engine) $(PYTEST_ARGS)

.PHONY: wheel-test
wheel-test: $(VENV)/.stamp-dev ## build the wheel, install it elsewhere, train a small net with it
	$(BIN)/python tools/wheel_test.py

# --- checking ---

.PHONY: check
check: $(VENV)/.stamp-dev ## ruff, mypy --strict, import contracts, generated code, package list
	@$(MAKE) --no-print-directory --keep-going lint types imports generated packages

.PHONY: lint
lint: $(VENV)/.stamp-dev
	$(BIN)/ruff check $(LINT_PATHS)
	$(BIN)/ruff format --check $(LINT_PATHS)

.PHONY: types
types: $(VENV)/.stamp-dev typecheck-links
	$(BIN)/mypy -p farlayer
	$(BIN)/mypy tools

.PHONY: imports
imports: $(VENV)/.stamp-dev
	$(BIN)/lint-imports

.PHONY: generated
generated: $(VENV)/.stamp-dev
	$(BIN)/python tools/generate_protos.py --check

.PHONY: packages
packages: $(VENV)/.stamp-dev
	$(BIN)/python -m pytest -qq tests/test_packaging.py

# The type checkers do not read setuptools' editable import hook: a link tree stands in for it.
.PHONY: typecheck-links
typecheck-links:
	@mkdir -p .typecheck/farlayer
	@for package in $(PACKAGES); do ln -sfn "../../$$package" ".typecheck/farlayer/$$package"; done

.PHONY: format
format: $(VENV)/.stamp-dev ## let ruff format the code and mend what it can
	$(BIN)/ruff check --fix-only $(LINT_PATHS)
	$(BIN)/ruff format $(LINT_PATHS)

.PHONY: protos
protos: $(VENV)/.stamp-dev ## generate the Python code of protos/*.proto
	$(BIN)/python tools/generate_protos.py

# --- cleaning ---

.PHONY: clean
clean: ## remove caches and built files (the environment stays: rm -r .venv)
	rm -rf .typecheck .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist digits.png examples/*/output
	find $(LINT_PATHS) -name __pycache__ -type d -prune -exec rm -rf {} +
