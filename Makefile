# The front door. Needs Python 3.11 or newer, make and the package index; everything else is set up in .venv by itself.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/ready
ARGS ?=
WORKERS ?= 4

.DEFAULT_GOAL := help
.PHONY: help demo test test-clocks test-lowest test-matrix test-celery lint bench bench-store chaos fuzz image clean

help:  ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY)  ## Run the example on private servers and report; ARGS="--help" shows the options
	@$(BIN)/python -m worker_example.demo $(ARGS)

test: $(READY)  ## Run all tests, WORKERS=4 at a time; ARGS="-k name" runs some, one after the other
	$(BIN)/python -m pytest $(or $(ARGS),-n $(WORKERS) --dist worksteal)

test-clocks: $(READY)  ## Run the tests that look at time with the clock ahead; ARGS="--shift leap-day" runs one shift
	$(BIN)/python -m tests.clock $(ARGS)

test-lowest: $(READY)  ## Run the unit tests and a pipeline with the lowest dependencies; ARGS="-k name" runs some
	$(BIN)/python -m tests.compat.lowest $(ARGS)

test-matrix: $(READY)  ## Run what depends on Celery on 5.5, 5.6 and 5.7; ARGS="--release 5.5" runs one
	$(BIN)/python -m tests.compat.matrix $(ARGS)

test-celery: $(READY)  ## Run Celery's own integration suite without and with the plugin; ARGS="--help" shows more
	$(BIN)/python -m tests.compat.suite $(ARGS)

lint: $(READY)  ## Check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)  ## Measure capture and writer beside their references; writes bench/RESULTS.md
	$(BIN)/python -m bench $(ARGS)

bench-store: $(READY)  ## Measure the API at ten thousand and ten million rows; ARGS="--rows 1000000" takes a minute
	$(BIN)/python -m bench.store $(ARGS)

chaos: $(READY)  ## Kill and cut everything while tasks run, compare with the truth; ARGS="--seed 7 --broker rabbitmq"
	$(BIN)/python -m chaos $(ARGS)

fuzz: $(READY)  ## Feed the writer's decoder what coverage guides to; ARGS="--seconds 60"
	$(BIN)/python -m fuzz $(ARGS)

image:  ## Build the container images with Docker or buildah; ARGS="--build-arg BASE_IMAGE=..." goes to the build
	@deploy/image.sh $(ARGS)

clean:  ## Remove the virtual environment and caches
	rm -rf .venv .venv-lowest .venv-celery-* .celery-source .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(READY): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; say which with: make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Setting up .venv; this takes about a minute."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@# It asks for a Celery before 5.7, and runs on that too.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'celery-batches>=0.11'
	@touch $(READY)
