# The targets below are all there is; CI runs these and nothing else.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
PYTHON3 ?= python3
export PATH := $(BIN):$(PATH)
export CARGO_TARGET_DIR ?= $(CURDIR)/target
CARGO_FEATURES := --features python
STAMPS := $(VENV)/.stamps
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
ENGINE ?= $(firstword $(shell command -v docker podman))

RUST_SOURCES := $(shell find rust -name '*.rs' -o -name '*.cedar' -o -name '*.cedarschema' 2>/dev/null) Cargo.toml Cargo.lock
CONSOLE_SOURCES := $(shell find console -type f -not -path '*/node_modules/*' -not -path '*/dist/*' 2>/dev/null)

.PHONY: help setup setup-run system run check test lint format bench wheel image fuzz proto reference clean \
	check-rust check-python check-console test-rust test-python test-console

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: system setup-run ## install everything that building and testing needs

setup-run: $(STAMPS)/core $(STAMPS)/console

system: ## system packages for the tests (apt with root or sudo; else says what to install)
	@tools/system_packages.sh

$(STAMPS)/python: requirements/dev.txt
	@tools/step.sh "Python environment" tools/python_env.sh $(PYTHON3) $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/core: $(STAMPS)/python $(RUST_SOURCES) pyproject.toml
	@tools/step.sh "Rust core (the first build takes minutes)" maturin develop --release --quiet
	@touch $@

$(STAMPS)/npm: console/package-lock.json
	@tools/step.sh "Console packages" npm --prefix console ci --no-audit --no-fund --loglevel=error
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/console: $(STAMPS)/npm $(CONSOLE_SOURCES)
	@tools/step.sh "Console" npm --prefix console run build
	@touch $@

run: setup-run ## a demo hub on real video: prints address and login, Ctrl-C ends it
	@vidhub demo $(if $(PORT_OFFSET),--port-offset $(PORT_OFFSET))

check: setup-run lint check-rust check-python check-console ## format, lint, types and unit tests (before each commit)

check-rust:
	cargo test --release $(CARGO_FEATURES) --lib --quiet

check-python:
	pytest tests/unit -q

check-console:
	npm --prefix console run test

test: setup lint test-rust test-python test-console ## everything

test-rust:
	cargo test --release $(CARGO_FEATURES)

test-python:
	pytest tests -n 2 --dist loadfile

test-console: check-console

lint: setup-run ## rustfmt, clippy, cargo metadata rules, ruff, mypy, stubtest, buf, vue-tsc, generated code
	cargo fmt --check
	cargo clippy --release $(CARGO_FEATURES) --all-targets --quiet -- -D warnings
	ruff check .
	ruff format --check .
	mypy
	stubtest vidhub._core
	buf lint
	buf breaking --against protos/contract.binpb
	npm --prefix console run lint
	tools/proto.sh --check

format: ## rewrites the sources into the house format
	cargo fmt
	ruff check --fix .
	ruff format .

proto: $(STAMPS)/python ## generates python/vidhub/v1, python/buf and console/src/gen from protos/
	tools/proto.sh

reference: $(STAMPS)/core ## makes the pages of docs/reference that come from the sources: services, configuration, errors
	python tools/reference_api.py
	python tools/reference_config.py
	python tools/reference_errors.py

bench: setup-run ## speeds beside the floor measured in the same run (BENCH=--quick for a short one)
	python -m benches.run $(BENCH)

wheel: $(STAMPS)/python $(STAMPS)/console ## the hub as one Python package, console included, in dist/
	rm -rf dist
	maturin build --release --out dist

image: ## the container images vidhub and vidhub-demo (wants an engine: docker or podman)
	$(ENGINE) build --target hub --tag vidhub:$(VERSION) .
	$(ENGINE) build --target demo --tag vidhub-demo:$(VERSION) .

fuzz: setup-run ## looks for input that breaks a parser (FUZZ_S=20 seconds for each; the first build takes minutes)
	tools/fuzz.sh $(or $(FUZZ_S),20)

clean: ## removes what was built
	rm -rf target $(VENV) console/node_modules console/dist python/vidhub/console dist .cache
	find python -name '*.so' -delete
