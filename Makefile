# A fresh machine needs python3, make and git; everything else is installed below this folder.
.DEFAULT_GOAL := help
.PHONY: help install setup serve test test-slow coverage check docs format lock train evaluate clean bench-e2e bench-overload bench-first bench-soak bench-runtimes bench-peers k8s-validate \
	load-smoke load-steps load-spike load-soak requirements bento container .venv/bin/python

# --- uv: the one on PATH, else a pinned one in .uv/ -----------------------------------------------
UV_VERSION := 0.13.8
UV := $(shell uv --version >/dev/null 2>&1 && command -v uv)
ifeq ($(UV),)
UV := .uv/$(UV_VERSION)/bin/uv
endif

# --- the interpreter: python3 when it is 3.11 or 3.12, else one that uv finds ----------------------
# uv downloads a Python only when python3 does not fit and no other one on the machine does.
ifndef UV_PYTHON
FITTING_PYTHON := $(shell python3 -c 'import sys; (3, 11) <= sys.version_info < (3, 13) and print(sys.executable)' 2>/dev/null)
ifneq ($(FITTING_PYTHON),)
export UV_PYTHON := $(FITTING_PYTHON)
export UV_PYTHON_DOWNLOADS := never
endif
endif

# --- two environments from one lock: decision 0002 --------------------------------------------------
SERVING := UV_PROJECT_ENVIRONMENT=.venv
DEVELOPMENT := UV_PROJECT_ENVIRONMENT=.venv-dev
DEVELOPMENT_GROUPS := --group dev --group training --group loadtest
# An active virtual environment of the caller is no concern of ours; uv would warn about it.
unexport VIRTUAL_ENV
RUN := $(DEVELOPMENT) $(UV) run --no-sync

# In an environment of its own: it needs a hundred packages that nothing else does.
CHECKOV_VERSION := 3.3.30

# --- what a caller may set -----------------------------------------------------------------------------
RECIPE ?= released
DATA ?= $(BRAINMRI_DATA)
ARGS ?=
REQUIREMENTS ?= container
# What runs BentoML for `make bento`: the environment of `make serve`.
BENTO_PYTHON ?= .venv/bin/python

EXPORT = $(UV) export --quiet --frozen --no-emit-project --no-annotate --no-header

help: ## Show this list
	@awk -F ':.*## ' '/^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

##@ Use it

install: .venv/bin/python ## Install the command line .venv/bin/brainmri, and what serving needs; no TensorFlow

serve: $(UV) ## Install what serving needs (.venv) and start the server; ARGS="..." go to `brainmri serve`
	@$(SERVING) $(UV) sync --frozen
	@$(SERVING) BRAINMRI_LOG_FORMAT=$${BRAINMRI_LOG_FORMAT:-text} $(UV) run --no-sync brainmri serve $(ARGS)

##@ Change it

setup: $(UV) ## Install what development, tests and training need (.venv-dev)
	@$(DEVELOPMENT) $(UV) sync --frozen --compile-bytecode $(DEVELOPMENT_GROUPS)

.venv/bin/python: $(UV)
	@$(SERVING) $(UV) sync --frozen

# The tests of a file stay in one process, and share its servers and networks.
PYTEST := $(RUN) pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: setup ## Run the tests in two processes, but for the slow ones; ARGS=... go to pytest
	@$(PYTEST) -m "not slow" $(ARGS)

test-slow: setup ## Run the slow tests: training, containers, browser, Prometheus, other DICOM programs, long faults
	@$(PYTEST) -m slow $(ARGS)

coverage: setup ## Run every test, and show the lines that none of them runs
	@$(PYTEST) --cov $(ARGS)

check: setup ## Lint, check the format, the types, the lock, the documents and the Kubernetes manifests
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy
	@$(UV) lock --check --quiet
	@$(MAKE) --no-print-directory docs
	@$(MAKE) --no-print-directory k8s-validate

k8s-validate: setup ## Build the Kubernetes manifests, and check them against schemas, rules of ours and checkov
	@$(RUN) python -m k8s.checks runs/k8s
	@test ! -d runs/k8s || $(UV) tool run --quiet --from checkov==$(CHECKOV_VERSION) checkov \
	  --config-file k8s/checks/checkov.yaml --directory runs/k8s

docs: $(UV) ## Build the documents as a site, runs/site/index.html, and check every link in them
	@UV_PROJECT_ENVIRONMENT=.venv-docs $(UV) sync --quiet --frozen --only-group docs
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet --strict

format: setup ## Format, and fix what can be fixed by itself
	@$(RUN) ruff check --fix .
	@$(RUN) ruff format .

lock: $(UV) ## Resolve the dependencies again after an edit of pyproject.toml; ARGS=--upgrade renews all
	@$(UV) lock $(ARGS)
	@$(MAKE) --no-print-directory requirements

requirements: $(UV) ## Write down the lock for the image and the Bento, with hashes: container/requirements*.txt
	@$(EXPORT) --extra dicom --output-file $(REQUIREMENTS)/requirements.txt
	@$(EXPORT) --only-group sbom --output-file $(REQUIREMENTS)/requirements-sbom.txt

##@ Ship it

bento: $(UV) $(BENTO_PYTHON) ## Build the Bento brainmri:latest, with the released model, in BENTOML_HOME; docs/container.md
	@$(BENTO_PYTHON) -m brainmri models import models/brain_mri_xception
	@PATH="$(dir $(abspath $(UV))):$$PATH" BENTOML_DO_NOT_TRACK=True $(BENTO_PYTHON) -m bentoml build $(ARGS)

container: ## Build the image localhost/brainmri; BASE=IMAGE@DIGEST names the base, else one is made of Debian packages
	@container/build.sh $(ARGS)

##@ Train it

train: setup ## Audit, split and train: RECIPE=NAME DATA=FOLDER; ARGS=--resume continues
	@$(RUN) python -m training audit $(if $(DATA),--data $(DATA))
	@$(RUN) python -m training split
	@$(RUN) python -m training train $(RECIPE) $(if $(DATA),--data $(DATA)) $(ARGS)

evaluate: setup ## Evaluate a trained run: RECIPE=NAME DATA=FOLDER
	@$(RUN) python -m training evaluate $(RECIPE) $(if $(DATA),--data $(DATA)) $(ARGS)

##@ Measure it

bench-e2e: setup ## Measure the service against its runtime in process; docs/benchmarks.md
	@$(RUN) python -m benchmarks.end_to_end $(ARGS)

bench-overload: setup ## Measure five times the capacity, and corrupt images among good ones
	@$(RUN) python -m benchmarks.overload $(ARGS)

bench-first: setup ## Measure starts: seconds until ready, and the first request after it
	@$(RUN) python -m benchmarks.first_request $(ARGS)

bench-runtimes: setup ## Measure every runtime that a bundle carries; docs/performance.md
	@$(RUN) python -m benchmarks.runtimes $(ARGS)

bench-peers: setup ## Measure seven other model servers beside ours; docs/performance.md
	@$(RUN) python -m benchmarks.peers prepare
	@$(RUN) python -m benchmarks.peers measure $(ARGS)
	@$(RUN) python -m benchmarks.peers measure --runtime tensorflow $(ARGS)
	@$(RUN) python -m benchmarks.peers report

bench-soak: setup ## Measure half an hour of mixed load
	@$(RUN) python -m benchmarks.soak $(ARGS)

# A load test starts the service itself, unless HOST=http://127.0.0.1:3000 names one; GRPC_HOST is port 3001 there.
LOAD_TEST = $(RUN) python -m loadtests.run $(patsubst load-%,%,$@) \
	$(if $(HOST),--host $(HOST)) $(if $(GRPC_HOST),--grpc-host $(GRPC_HOST)) $(ARGS)

load-smoke: setup ## Send 5 requests a second, of all five kinds, for 15 s, and check every answer; docs/load-tests.md
	@$(LOAD_TEST)

load-steps: setup ## Find the load at which latency leaves the ground, in 3 minutes
	@$(LOAD_TEST)

load-spike: setup ## Send far more than it can answer for 15 s, and see it recover
	@$(LOAD_TEST)

load-soak: setup ## Send the same load for half an hour; ARGS="--stage-seconds 120" is shorter
	@$(LOAD_TEST)

##@ Clean up

clean: ## Remove the environments, caches and reports; runs and data stay
	@rm -rf .venv .venv-dev .venv-docs .uv .mypy_cache .pytest_cache .ruff_cache htmlcov coverage.xml .coverage .coverage.*
	@find . -name '.?*' -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

.uv/$(UV_VERSION)/bin/uv:
	@rm -rf .uv
	@python3 -m venv .uv/$(UV_VERSION) >/dev/null 2>&1 || { rm -rf .uv; echo "python3 cannot make a virtual environment:\
	 install python3 with its venv module (Debian, Ubuntu: apt-get install python3-venv), or put uv on PATH." >&2; exit 1; }
	@.uv/$(UV_VERSION)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
