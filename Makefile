# Everything a developer, an operator or CI runs. `make help` lists it.
PYTHON ?= python3
RUN := .venv/bin/python
STACK ?= dev
ENGINE ?= recording
EXAMPLES ?= 500
JOBS ?= 2000
SEEDS ?= 12
LANE ?= yes
WORKERS ?= auto
VLLM ?=
SLOWER ?=
# vLLM's environment as it was when its release was current: it has seen no newer majors of what it imports.
VLLM_DAY ?= 2026-05-10
FUNCTION ?= router
EVENT ?= docs/events/router-infer.json
PROMPT ?= What is the capital of France? Answer in one sentence.

# What a person says, on the command line or in the environment, is data: neither make nor a shell expands
# it. Taken as it was given, by `value`, it goes to the recipes by their environment, where each is "$$PROMPT" in
# quotes. ARGS is several words, which WITH_ARGS splits by blanks and quotes as a shell does, and CONFIG by blanks.
GIVEN := AGAINST ARGS BENCH CONFIG EMAIL ENGINE EVENT EXAMPLES FILE FOLDER FROM FUNCTION JOBS KEEP LANE OUTPUTS PORT \
  PROMPT PYTHON ROUNDS SEED SEEDS SLOWER STACK VERSION VLLM VLLM_DAY WORKERS
$(foreach each,$(GIVEN),$(if $(filter-out undefined,$(origin $(each))),$(eval override $(each) := $$(value $(each)))$(eval export $(each))))
WITH_ARGS := $(RUN) -m tools.words
ON_OUTPUTS := --stack="$$STACK" $${OUTPUTS:+--outputs="$$OUTPUTS"}

# Compiled modules are kept: without them Pulumi's classes alone take 3 s more, in every process.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo budget-drill local engine up refresh destroy test bench month vllm-check bake-check fuzz chaos postman invoke user bridge console model bake unlatch reset-breaker check preview format pins lambda-package dashboard dashboard-picture console-pictures docs push-test deploy rollback smoke latency smoke-user pipeline posture workflows clean setup-local setup-dev

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup-local ## The whole system on this machine answers a prompt: cold boot to idle stop (PROMPT=…, ENGINE=pulumi)
	@$(RUN) -m local demo --stack="$$STACK" --engine="$$ENGINE" -- "$$PROMPT"

budget-drill: setup-local ## AWS Budgets at one cent stops a running node of the local cloud, and it stays stopped until it is let go
	@$(RUN) -m local budget-drill --stack="$$STACK"

local: setup-local ## Keep the local cloud running; serves its console, and prints its URLs, a token and a curl line (ENGINE=pulumi)
	@$(RUN) -m local up --stack="$$STACK" --engine="$$ENGINE"

engine: ## Build Pulumi's CLI from its Go module, where there is Go and no pulumi on PATH
	@"$$PYTHON" tools/engine/build.py

up: setup-local ## Pulumi's own CLI deploys into a running `make local` (STACK=…, ARGS=… for the CLI)
	@$(WITH_ARGS) local deploy --stack="$$STACK" $@ --

refresh: setup-local ## Pulumi's own CLI looks what there is in a running `make local`
	@$(WITH_ARGS) local deploy --stack="$$STACK" $@ --

destroy: setup-local ## Pulumi's own CLI destroys what it deployed into a running `make local`
	@$(WITH_ARGS) local deploy --stack="$$STACK" $@ --

test: setup-dev ## Every test, with coverage of what is deployed (WORKERS=…, 0 for this process alone)
	@$(WITH_ARGS) pytest -n "$$WORKERS" --cov --cov-report=term:skip-covered $${ARGS:+--cov-fail-under=0}

bench: setup-dev ## Measure, each bench briefly or one of them (BENCH=worker, ROUNDS=…; worker, lane, bridge, idle_stops, edge, router, queue, cold_start, publisher, console, month, weeks)
	@$(WITH_ARGS) bench $${BENCH:+"$$BENCH"} $${ROUNDS:+"$$ROUNDS"}

month: setup-dev ## Simulate months of money, with all guards and with one alone (SEEDS=…, ARGS=write for the page and its picture)
	@$(WITH_ARGS) bench.month "$$SEEDS"

vllm-check: setup-dev ## The watcher before the real vLLM on this CPU, in order and while it fails (installs 8 GB below .cache, once)
	@$(WITH_ARGS) bench.vllm

bake-check: setup-dev ## Bake the node's image in a scratch root and have its services answer (root, debootstrap; VLLM=yes installs it too, SLOWER=4 on a busy machine)
	@$(RUN) -m tools.bake_check $${VLLM:+--vllm} $${SLOWER:+--slower="$$SLOWER"}

fuzz: setup-dev ## Send the API requests nobody thought of (EXAMPLES=…, per route)
	@TLFIF_FUZZ_EXAMPLES="$$EXAMPLES" $(WITH_ARGS) pytest -q --timeout=0 tests/fuzz

chaos: setup-dev ## Kill and break everything under the jobs, and account for each of them (JOBS=…, SEED=… repeats a run, LANE= leaves the instant lane out)
	@TLFIF_CHAOS_JOBS="$$JOBS" TLFIF_CHAOS_SEED="$$SEED" TLFIF_CHAOS_LANE="$$LANE" $(WITH_ARGS) pytest -q --timeout=0 tests/chaos

postman: setup-local ## Run the Postman collection against a local cloud (needs npm)
	@$(RUN) -m local postman --stack="$$STACK"

invoke: setup-local ## Call one function with an event, from its bundle (FUNCTION=…, EVENT=docs/events/….json)
	@$(RUN) -m local invoke --stack="$$STACK" -- "$$FUNCTION" "$$EVENT"

user: setup-local ## Make a user of a deployed stack (EMAIL=…, STACK=…)
	@$(RUN) -m tools.user $(ON_OUTPUTS) -- "$$EMAIL"

bridge: setup-local ## OpenAI's API on loopback, answered by a deployed stack or by a running make local (EMAIL=…, STACK=…, OUTPUTS=…, ARGS=…)
	@$(WITH_ARGS) tools.fronts.bridge $(ON_OUTPUTS) $${EMAIL:+--user="$$EMAIL"}

console: setup-local ## The console of a deployed stack at http://localhost, in your browser (STACK=…, OUTPUTS=…, FOLDER=…, PORT=…, ARGS=--no-open)
	@$(WITH_ARGS) tools.fronts.console $(ON_OUTPUTS) $${FOLDER:+--folder="$$FOLDER"} $${PORT:+--port="$$PORT"}

model: setup-local ## Bring the weights of a deployed stack to its bucket now, from the hub or from a file (STACK=…, FILE=…)
	@$(RUN) -m tools.model $(ON_OUTPUTS) $${FILE:+--file="$$FILE"}

bake: setup-local ## Bake a deployed stack's node image, publish it, and remove what nobody uses (STACK=…, KEEP=…, ARGS=--force)
	@$(WITH_ARGS) tools.bake --stack="$$STACK" $${KEEP:+--keep="$$KEEP"}

push-test: setup-dev ## What each push is held against, within five minutes: the first failure ends it (coverage's pages in dist/coverage)
	@$(WITH_ARGS) tools.delivery.push_test

deploy: setup-local ## This commit's router becomes a new version, gets a part of the traffic, then all of it, or none (STACK=…, OUTPUTS=…, ARGS=…)
	@$(WITH_ARGS) tools.delivery.deploy $(ON_OUTPUTS)

rollback: setup-local ## The version before serves again, or the one that is named (STACK=…, VERSION=…, FROM=…, ARGS=--force)
	@$(WITH_ARGS) tools.delivery.rollback $(ON_OUTPUTS) $${VERSION:+--version="$$VERSION"} $${FROM:+--from="$$FROM"}

smoke: setup-local ## A prompt to a deployed stack and its reply, within 120 s (STACK=…, OUTPUTS=…, ARGS=…)
	@$(WITH_ARGS) tools.delivery.smoke $(ON_OUTPUTS) $${VERSION:+--version="$$VERSION"}

latency: setup-local ## How long the router of a deployed stack takes warm, by its X-Ray traces: p95 at most 60 ms (STACK=…)
	@$(WITH_ARGS) tools.delivery.latency $(ON_OUTPUTS) $${VERSION:+--version="$$VERSION"}

smoke-user: setup-local ## Make the user who signs in for the smoke test, or give it a new password (STACK=…)
	@$(RUN) -m tools.delivery.smoke_user $(ON_OUTPUTS)

pipeline: setup-dev ## The delivery pipeline on this machine: each stage's own script, in order, against a local cloud
	@$(WITH_ARGS) local pipeline --stack="$$STACK"

posture: setup-dev ## Judge the stacks by checkov; a kind of finding that nobody decided on fails
	@$(WITH_ARGS) tools.posture

workflows: setup-dev ## Judge the GitHub workflows by actionlint and zizmor
	@$(RUN) -m tools.workflows

unlatch: setup-local ## Lift the budget's latch of a deployed stack, unless its cap is still reached (STACK=…)
	@$(RUN) -m tools.unlatch $(ON_OUTPUTS)

reset-breaker: setup-local ## Have nodes of a deployed stack started again after three failed boots (STACK=…)
	@$(RUN) -m tools.unlatch --breaker $(ON_OUTPUTS)

check: setup-dev ## Lint, formatting, types, which room imports which, and dead names
	@$(RUN) -m ruff check . && $(RUN) -m ruff format --check . && $(RUN) -m pyright
	@PYTHONPATH=.:functions:gpu_image .venv/bin/lint-imports --no-cache --no-logo && $(RUN) -m vulture

format: setup-dev ## Format the code and mend what lint can mend
	@$(RUN) -m ruff check --fix . ; $(RUN) -m ruff format .

preview: setup-local ## What a stack consists of and costs, without credentials (STACK=…, AGAINST=git ref, CONFIG=group:key=value)
	@set -f; for each in $$CONFIG; do set -- "$$@" --config="$$each"; done; \
  $(RUN) -m recording.preview --stack="$$STACK" $${AGAINST:+--against="$$AGAINST"} "$$@"

lambda-package: setup-local ## Build the Lambda bundles into dist/lambda (needs python3.12)
	@$(RUN) -m components.bundle --target lambda

pins: setup-dev ## Compile the pinned requirement files from the *.in files
	@for set in requirements:3.11 requirements-local:3.11 requirements-dev:3.11 functions/requirements:3.11 tools/posture/requirements:3.11 gpu_image/requirements:3.10; do \
	  name=$${set%:*}; out=$$name.txt; [ $$name = functions/requirements ] && out=functions/constraints.txt; \
	  $(RUN) -m uv pip compile --quiet --no-header --no-annotate $$(case $$name in gpu_image/*) echo --generate-hashes;; esac) --python-version $${set#*:} $$name.in -o $$out && \
	  sed -i "1i # Pinned by 'make pins' from $$name.in." $$out || exit 1; done
	@$(RUN) -m tools.pins gpu_image/bake/uv && $(RUN) -m tools.pins gpu_image/vllm-requirements "$$VLLM_DAY"

dashboard: setup-dev ## Write observability/ out of the program, and have cfn-lint judge dashboard and alarms
	@$(RUN) -m tools.observability

dashboard-picture: setup-dev ## Draw the dashboard (docs/dashboard.png) from half an hour of a local cloud's own metrics
	@$(RUN) -m tools.dashboard_picture

console-pictures: setup-dev ## Take the console's main states as screenshots into docs/ (needs chromium)
	@TLFIF_PICTURES=docs $(WITH_ARGS) pytest -q tests/gui/console/test_looks.py

docs: setup-local ## Rewrite the generated tables of README and docs/
	@$(RUN) -m tools.readme

clean: ## Remove what was built and cached (not .venv)
	rm -rf dist .cache

setup-local:
	@"$$PYTHON" tools/setup.py local

setup-dev:
	@"$$PYTHON" tools/setup.py dev
