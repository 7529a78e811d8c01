# `make quickstart` runs the main job, `make test` passes the tests; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

UV_VERSION := 0.13.9
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/modelramp
UV := $(or $(shell command -v uv),$(CACHE)/uv/bin/uv)
BIN := .venv/bin

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

$(CACHE)/uv/bin/uv:
	python3 -m venv $(CACHE)/uv
	$(CACHE)/uv/bin/pip install --quiet uv==$(UV_VERSION)

.venv/.installed: requirements.lock pyproject.toml | $(UV)
	test -x $(BIN)/python || $(UV) venv --quiet --python '>=3.11,<3.14'
	$(UV) pip sync --quiet --require-hashes --compile-bytecode requirements.lock
	$(UV) pip install --quiet --no-deps --editable .
	touch $@

# The policy pack cannot share an environment with kserve: they want different protobufs.
policies/.venv/.installed: policies/requirements.lock | $(UV)
	test -x policies/.venv/bin/python || $(UV) venv --quiet --python '>=3.11,<3.14' policies/.venv
	$(UV) pip sync --quiet --require-hashes --python policies/.venv policies/requirements.lock
	touch $@

.PHONY: install
install: .venv/.installed ## make .venv with the pinned packages

.PHONY: quickstart
quickstart: install ## roll a real model out, one version good and one bad
	$(BIN)/modelramp quickstart

.PHONY: quickstart-cluster
quickstart-cluster: install ## the same on a real Kubernetes with KServe, made on this machine (root)
	$(BIN)/modelramp quickstart --cluster

.PHONY: check
check: install policies/.venv/.installed ## unit tests, types, lint: under two minutes
	$(MAKE) --no-print-directory --output-sync=target -j2 lint unit

.PHONY: lint
lint: install policies/.venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright
	$(BIN)/pyright -p policies

.PHONY: unit
unit: install policies/.venv/.installed
	$(BIN)/pytest -q -m "not embedded and not cluster" tests
	policies/.venv/bin/pytest -q -c policies/pyproject.toml tests/policies

.PHONY: test
test: check ## everything, also end to end on the embedded target
	$(BIN)/pytest -q -m embedded tests

.PHONY: test-cluster
test-cluster: install ## end to end on a real Kubernetes made anew on this machine (root)
	$(BIN)/modelramp local fetch --cluster
	$(BIN)/pytest -q -m cluster tests

docs/policies.md: policies/document.py policies/rules/*.py | policies/.venv/.installed ## from the rules
	policies/.venv/bin/python policies/document.py $@

# What CI's workflows run, and what runs here as well: make preview STACK=prod
STACK ?= $(error say which stack: STACK=prod)
PREVIEW = out/$(STACK)
PACK = --policy-pack policies $(addprefix --policy-pack-config ,$(wildcard policies/config/$(STACK).json))

.PHONY: preview
preview: install policies/.venv/.installed ## what `make up STACK=prod` would change, by JSON in out/
	$(BIN)/modelramp validate --stack $(STACK) --merged
	mkdir -p out
	PULUMI_DEBUG_COMMANDS=true pulumi --non-interactive preview --stack $(STACK) $(PACK) \
		--json --show-sames --event-log $(PREVIEW).events.jsonl > $(PREVIEW).preview.json

.PHONY: preview-comment
preview-comment: install ## say on the pull request what that preview means
	$(BIN)/modelramp preview-comment --stack $(STACK) \
		--preview $(PREVIEW).preview.json --events $(PREVIEW).events.jsonl $(ARGUMENTS)

.PHONY: preview-gate
preview-gate: install ## refuse deletes and replacements in that preview that nobody allowed
	$(BIN)/modelramp preview-gate --preview $(PREVIEW).preview.json $(ARGUMENTS)

.PHONY: up
up: install policies/.venv/.installed ## make what a stack declares so: make up STACK=prod
	$(BIN)/modelramp validate --stack $(STACK) --merged
	# The preview first: rules about the whole stack are asked at the end of it, before anything is done.
	pulumi --non-interactive up --yes --stack $(STACK) $(PACK)

.PHONY: release
release: ## publish the tag TAG, with the schema of its stack files
	gh release create "$(TAG)" --verify-tag --generate-notes stacks/schema.json

.PHONY: lock
lock: | $(UV) ## pin the newest allowed versions
	$(UV) pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes \
		--group local --group dev --custom-compile-command "make lock" \
		--output-file requirements.lock pyproject.toml
	$(UV) pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes \
		--group policies/pyproject.toml:dev --custom-compile-command "make lock" \
		--output-file policies/requirements.lock policies/pyproject.toml
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--group server --constraints requirements.lock --custom-compile-command "make lock" \
		--output-file serving/requirements.lock
	$(UV) pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes \
		--group storage-initializer --custom-compile-command "make lock" \
		--output-file local/cluster/storage-initializer.lock
