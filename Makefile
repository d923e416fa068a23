# Everything a developer types. Environments live in ignored folders of this checkout; a stamp file
# in each says that it is complete, so that nothing is installed twice.
#
# setup, demo, test, lint, types and bench need Python >= 3.11 and nothing else: no root, no Node.
# Only ci-tools uses apt and npm.

PYTHON ?= python3
SDK_VERSION := 2.3.0
SDK1_VERSION := 1.30.0
FASTMCP_VERSION := 4.1.2
NODE_VERSION := 22
TYPESCRIPT_VERSION := 1.32.2
TYPESCRIPT2_VERSION := 2.4.0
TYPESCRIPT2_NODE_VERSION := 2.1.2
SUITE_VERSION := 0.2.0-alpha.12
PYODIDE_VERSION := 314.0.7
PYODIDE_PLATFORM := --python-version 314 --implementation cp --platform pyemscripten_2026_0_wasm32

PY := .venv/bin/python
READY := .venv/.installed
FUZZ_READY := .venv/.installed-fuzz
SDK_READY := .venv-sdk/.installed-$(SDK_VERSION)
SDK1_READY := .venv-sdk1/.installed-$(SDK1_VERSION)
FASTMCP_READY := .venv-fastmcp/.installed-$(FASTMCP_VERSION)
ADAPTED_READY := .venv-sdk/.installed-mcpcore .venv-sdk1/.installed-mcpcore .venv-fastmcp/.installed-mcpcore
SPEED_READY := .venv-sdk/.installed-speed-$(SDK_VERSION)
TYPESCRIPT_READY := .tools/.installed-typescript-$(NODE_VERSION)-$(TYPESCRIPT_VERSION)-$(TYPESCRIPT2_VERSION)-$(TYPESCRIPT2_NODE_VERSION)
TOOLS_READY := .tools/.installed-$(NODE_VERSION)-$(SUITE_VERSION)
PYODIDE_READY := .tools/.installed-pyodide-$(PYODIDE_VERSION)
REWRITTEN := build/.rewritten

# Processes for the tests that do I/O, beside the one for those that do none; they wait a lot. Those that
# take their time have a process for each file, in the order of tests/conftest.py: with most tests first the
# longest of all, which stand alone in their files, would come last.
JOBS ?= 4
LONG_JOBS ?= 4

# Of the long tests of which there are many of a kind (another binding, event loop, revision, seed) one in
# so many is run.
REPETITIONS ?= 12

# How long a soak takes, its event loop, and words of the rows that are tortured.
MINUTES ?= 20
BACKEND ?= asyncio
ONLY ?=
MUTATION ?=
SIMULATION ?=
REAL ?=

# Tests of the sans-IO packages: no sockets, pipes or processes. Coverage is measured on these alone.
CORE_TESTS := tests/wire tests/spec tests/engine tests/http tests/service tests/auth tests/policy tests/relay
REST_TESTS := tests $(CORE_TESTS:%=--ignore=%)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONUNBUFFERED := 1
# Kept bytecode, whatever the environment says: tests start processes by the hundred.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup sdk typescript adapted demo interop peers real real-programs test test-core test-rest test-long test-long-core test-long-rest torture simulation soak fuzz mutation lint types docs reference bench bench-tools clean clean-all ci-tools servers

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## Make .venv with mcpcore and all that developing it needs

sdk: $(SDK_READY) $(SDK1_READY) typescript ## Make .venv-sdk and .venv-sdk1 with the official Python SDK, 2.x and 1.x; with npm TypeScript's

typescript:
	@if command -v npm >/dev/null; then \
	  $(MAKE) --no-print-directory $(TYPESCRIPT_READY) || echo "the TypeScript SDK does not install here" >&2; \
	  else echo "without npm there is no TypeScript SDK (make ci-tools brings it)"; fi

adapted: $(ADAPTED_READY) ## Install mcpcore beside both lines of the official SDK and fastmcp, to serve their objects

demo: $(READY) $(SDK_READY) ## Talks and sign-ins with the official SDK; the conformance kit on both sides over three bindings
	@$(PY) -m conformance.demo

interop: $(READY) sdk $(FASTMCP_READY) real-programs ## Every feature against both lines of the official SDKs; through a gateway; signing in
	@$(PY) -m conformance.interop && \
	$(PY) -m conformance.real --gateway --without kit; all=$$?; \
	$(PY) -m conformance.interop.authorization && exit $$all

test: $(READY) ## All tests that take seconds
	@$(MAKE) --no-print-directory -k -j2 test-core test-rest

test-core: $(READY)
	$(PY) -m pytest -q -m "not long" $(CORE_TESTS)

test-rest: $(READY) $(REWRITTEN)
	@echo "JUnit reports of the conformance kit go to build/reports/"
	$(PY) -m pytest -q -n $(JOBS) --dist worksteal --durations 40 --durations-min 2 -m "not long" $(REST_TESTS)

test-long: $(READY) $(ADAPTED_READY) ## Wheel, interop, real programs, official suite (after ci-tools), deep properties, coverage; REPETITIONS=1: all
	@$(MAKE) --no-print-directory -k -j2 test-long-core test-long-rest

test-long-core: $(READY)
	HYPOTHESIS_PROFILE=few $(PY) -m coverage run -m pytest -q -m "not long" --share 24 $(CORE_TESTS)
	$(PY) -m coverage report
	HYPOTHESIS_PROFILE=long $(PY) -m pytest -q -m long --repetitions $(REPETITIONS) --timeout 3600 --durations 20 --durations-min 3 $(CORE_TESTS)

test-long-rest: $(READY) $(REWRITTEN) $(FUZZ_READY) $(ADAPTED_READY) typescript real-programs
	@echo "JUnit reports of the conformance kit go to build/reports/"
	HYPOTHESIS_PROFILE=long $(PY) -m pytest -q -n $(LONG_JOBS) --dist loadfile --no-loadscope-reorder -m long --repetitions $(REPETITIONS) --timeout 3600 --durations 100 --durations-min 3 $(REST_TESTS)

peers: $(READY) $(SDK_READY) $(SDK1_READY) ## The conformance kit against programs built on both lines of the official SDK; SOURCES=DIR: and its own
	@$(PY) -m conformance.peers $(if $(SOURCES),--sources $(SOURCES))

real: $(READY) real-programs ## Programs that people use, of npm and PyPI, against ours, one table; REAL="--only supergateway"
	@$(PY) -m conformance.real $(REAL)

# What is there already is not installed again, and what cannot be installed is skipped.
real-programs: $(READY)
	@$(PY) -m conformance.real --install

torture: $(READY) ## Everything that can fail, on every driver, made to fail once each; ONLY="http trio"
	@$(PY) -m tests.torture $(ONLY)

simulation: $(READY) ## 100,000 conversations in virtual time, with faults, and of the relay; SIMULATION="--schedules 4000"
	@$(PY) -m tests.simulation $(if $(SIMULATION),$(SIMULATION),--schedules 100000 --jobs 2)
	@$(if $(SIMULATION),,$(PY) -m tests.relay.schedules --schedules 100000)

soak: $(READY) ## Load with faults on every binding, and what is left of it; MINUTES=20 BACKEND=asyncio
	@$(PY) -m tests.soak --minutes $(MINUTES) --backend $(BACKEND)

lint: $(READY) ## Style and formatting
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(READY) ## Strict typing of every package and of the tests
	$(PY) -m mypy

docs: $(READY) ## The site of the documentation, into build/site; any warning fails
	$(PY) -m tests.reference --check
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

reference: $(READY) ## Write the generated pages of docs/reference anew
	@$(PY) -m tests.reference

bench: $(READY) bench-tools ## Costs beside raw limits and peers, one run; BENCH="--quick --only http"
	@$(PY) -m mcpcore_bench run $(BENCH)

bench-tools: $(SPEED_READY) $(FASTMCP_READY) typescript ## The peers of the bench; with npm the TypeScript SDK too, both lines

fuzz: $(FUZZ_READY) ## Ten minutes of fuzzing over all targets, guided by coverage where atheris installs; FUZZ="--seconds 3600"
	@$(PY) -m tests.fuzz --jobs 3 $(FUZZ)

mutation: $(READY) ## Change the core in 400 places, one at a time, and see which test notices; MUTATION="--seed 8"
	@nice -n 10 $(PY) -m tests.mutation $(MUTATION)

ci-tools: $(TOOLS_READY) $(PYODIDE_READY) servers ## Node, the official suite and Pyodide into .tools; redis-server, nginx, haproxy, prometheus, chromium (apt, npm)

clean: ## Remove what building and testing leave behind
	rm -rf build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.venv*' -not -path './.tools/*' -prune \
	  -exec rm -rf {} +

clean-all: clean ## ... and the environments and tools
	rm -rf .venv .venv-fastmcp .venv-real .venv-real1 .venv-sdk .venv-sdk1 .tools

# Makes a virtual environment in $(1), saying what is missing where Python comes without venv.
define venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "mcpcore needs Python 3.11 or newer; choose one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(1)/bin/pip || $(PYTHON) -m venv $(1) || \
	  { rm -rf $(1); echo "python3 -m venv does not work here; on Debian: apt install python3-venv" >&2; exit 1; }
endef

$(READY): pyproject.toml
	$(call venv,.venv)
	$(PY) -m pip install -q -e '.[dev]'
	@touch $@

# Workers that begin together would each rewrite the assertions of every module: one does it for all of
# them, once in a checkout. What cannot be collected is told by the run that follows.
$(REWRITTEN): $(READY)
	@mkdir -p build
	@-$(PY) -m pytest -qq --collect-only $(REST_TESTS) >$@ 2>&1

# Without it the targets run all the same, with mutations by chance; but a test fails under CI.
$(FUZZ_READY): $(READY)
	@$(PY) -m pip install -q -e '.[fuzz]' || echo "atheris does not install here" >&2
	@touch $@

$(SDK_READY):
	$(call venv,.venv-sdk)
	.venv-sdk/bin/python -m pip install -q 'mcp==$(SDK_VERSION)'
	@touch $@

$(SDK1_READY):
	$(call venv,.venv-sdk1)
	.venv-sdk1/bin/python -m pip install -q 'mcp==$(SDK1_VERSION)'
	@touch $@

# What the SDK is at its best with.
$(SPEED_READY): $(SDK_READY)
	.venv-sdk/bin/python -m pip install -q httptools uvloop opentelemetry-sdk
	@touch $@

$(FASTMCP_READY):
	$(call venv,.venv-fastmcp)
	.venv-fastmcp/bin/python -m pip install -q 'fastmcp==$(FASTMCP_VERSION)' httptools uvloop opentelemetry-sdk
	@touch $@

$(ADAPTED_READY): .venv-%/.installed-mcpcore: $(SDK_READY) $(SDK1_READY) $(FASTMCP_READY)
	.venv-$*/bin/python -m pip install -q -e '.[cli]'
	@touch $@

# The SDK's line 1.x is one package; 2.x has one for servers, one for clients, and one for Node's http.
$(TYPESCRIPT_READY):
	mkdir -p .tools
	npm install --prefix .tools --no-audit --no-fund --loglevel=error \
	  node@$(NODE_VERSION) @modelcontextprotocol/sdk@$(TYPESCRIPT_VERSION) \
	  @modelcontextprotocol/server@$(TYPESCRIPT2_VERSION) \
	  @modelcontextprotocol/client@$(TYPESCRIPT2_VERSION) \
	  @modelcontextprotocol/node@$(TYPESCRIPT2_NODE_VERSION)
	@touch $@

# Tests start their own servers; one that a package has started is stopped again.
SERVERS := redis-server nginx haproxy prometheus
servers:
	@missing=; for each in $(SERVERS) chromium; do \
	  PATH=$$PATH:/usr/sbin command -v $$each >/dev/null || missing="$$missing $$each"; done; \
	[ -z "$$missing" ] || { \
	  packages=$$(echo $$missing | sed 's/nginx/nginx-light/'); \
	  sudo=; [ "$$(id -u)" -eq 0 ] || sudo=sudo; \
	  $$sudo apt-get update -q && $$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
	    apt-get install -q -y --no-install-recommends $$packages && \
	  { [ ! -d /run/systemd/system ] || $$sudo systemctl disable -q --now $(SERVERS); }; }

$(TOOLS_READY):
	@command -v npm >/dev/null || { \
	  sudo=; [ "$$(id -u)" -eq 0 ] || sudo=sudo; \
	  $$sudo apt-get update -q && $$sudo env DEBIAN_FRONTEND=noninteractive \
	    apt-get install -q -y --no-install-recommends npm; }
	mkdir -p .tools
	npm install --prefix .tools --no-audit --no-fund --loglevel=error \
	  node@$(NODE_VERSION) @modelcontextprotocol/conformance@$(SUITE_VERSION)
	@touch $@

# Where it cannot be installed, its tests are skipped, but under CI they fail.
$(PYODIDE_READY): $(READY) $(TOOLS_READY)
	@npm install --prefix .tools --no-audit --no-fund --loglevel=error pyodide@$(PYODIDE_VERSION) && \
	$(PY) -m pip download -q --no-deps --only-binary :all: $(PYODIDE_PLATFORM) -d .tools/wheels msgspec || \
	  echo "Pyodide does not install here" >&2
	@touch $@
