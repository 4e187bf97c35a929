# Two commands do everything: `make run` and `make test`. Both install what they need into .venv and .local.
PYTHON ?= $(or $(shell python3 deploy/interpreter.py 2>/dev/null),python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q install
LOCKS := deploy/requirements

.PHONY: run demo pictures dist wheel-test sbom rebuild export import evaluate-models soak chaos scale langchain clients replay compare evaluate bench test check configuration compose-test chaos-test mutants format lock clean help

run: $(VENV)/.local  ## Start the whole system; Ctrl-C stops it (GATEWAYS=1: gateways on one port)
	@$(BIN)/python -m deploy.local $(if $(GATEWAYS),--gateways "$(GATEWAYS)")

DEMO := $(if $(DATA),--data "$(DATA)") $(if $(REQUESTS),--requests $(REQUESTS)) $(if $(SEED),--seed $(SEED)) \
  $(if $(FEEDBACK),--feedback $(FEEDBACK)) $(if $(JUDGE),--judge "$(JUDGE)") $(if $(RATE),--rate $(RATE))

demo: $(VENV)/.local  ## Replay real prompts and watch the router learn (DATA=folder REQUESTS=1000 SEED=0 FEEDBACK=0.1 JUDGE=none RATE=25)
	@$(BIN)/python -m deploy.local.demo $(DEMO)

pictures: $(VENV)/.test  ## Take the picture of the dashboard in docs/images, from the demo (the same variables)
	@$(BIN)/python -m tools.pictures $(DEMO)

dist: $(VENV)/.test  ## Build the wheel into dist/, without the network
	@rm -f dist/*.whl
	@$(BIN)/python -m hatchling build -t wheel -d dist

wheel-test: dist  ## Install the wheel with pip, uvx and pipx from the package index, and start everything from it
	@$(BIN)/python -m deploy.wheel.trial dist/*.whl

sbom: .local/sbom/.installed  ## List what the image contains in dist/image.cdx.json (CycloneDX), from its lock
	@mkdir -p dist
	@.local/sbom/bin/python -W ignore -m cyclonedx_py requirements $(LOCKS)/runtime.txt --pyproject pyproject.toml \
	  --output-reproducible --validate -o dist/image.cdx.json
.local/sbom/.installed: $(LOCKS)/sbom.txt
	@$(PYTHON) -m venv .local/sbom
	@.local/sbom/bin/python -m pip --disable-pip-version-check -q install --require-hashes -r $(LOCKS)/sbom.txt
	@touch $@

rebuild: $(VENV)/.local  ## Redis and Qdrant from the history, while `make run` is stopped (REPLACE=1: over what is there)
	@$(BIN)/python -m deploy.local.rebuild $(if $(REPLACE),--replace)

export: $(VENV)/.local  ## The history as a file, one request a line, while `make run` runs or not (OUT=history.jsonl SINCE=2026-11-23 VECTORS=1)
	@$(BIN)/python -m deploy.local.history services.learner export --out "$(abspath $(or $(OUT),history.jsonl))" \
	  $(if $(SINCE),--since $(SINCE)) $(if $(VECTORS),--vectors)

import: $(VENV)/.local  ## Learn from scores of own prompts, while `make run` runs or not (FILE=scores.jsonl SOURCE=eval WEIGHT=0.5)
	@$(BIN)/python -m deploy.local.import_scores "$(or $(FILE),scores.jsonl)" $(if $(SOURCE),--source $(SOURCE)) $(if $(WEIGHT),--weight $(WEIGHT))

evaluate-models: $(VENV)/.local  ## Let JUDGE_MODEL score the models on own prompts, and learn from it (FILE=prompts.jsonl MODELS=a,b YES=1)
	@$(BIN)/python -m deploy.local.import_scores --command evaluate-models "$(or $(FILE),prompts.jsonl)" \
	  $(if $(MODELS),--models "$(MODELS)") $(if $(YES),--yes)

replay: $(VENV)/.plots  ## The policy and its references on recorded outcomes (DATA, FEEDBACK, COST_WEIGHT, STREAM, SEEDS, POLICY, REQUESTS, DELAY, SPECIALISTS, JOBS, OUT=folder; JUDGE, RACE, IMPORT, PRIOR)
	@$(BIN)/python -m benchmarks.replay $(if $(DATA),--data $(DATA)) $(if $(FEEDBACK),--feedback $(FEEDBACK)) \
	  $(if $(COST_WEIGHT),--cost-weight $(COST_WEIGHT)) $(if $(STREAM),--stream $(STREAM)) \
	  $(if $(SEEDS),--seeds $(SEEDS)) $(if $(POLICY),--policy $(POLICY)) $(if $(REQUESTS),--requests $(REQUESTS)) \
	  $(if $(DELAY),--delay $(DELAY)) $(if $(SPECIALISTS),--specialists $(SPECIALISTS)) \
	  $(if $(SYSTEMS),--system-prompts $(SYSTEMS)) $(if $(FALL),--fall $(FALL)) \
	  $(if $(JUDGE),--judge $(JUDGE)) $(if $(RACE),--race $(RACE)) $(if $(IMPORT),--import $(IMPORT)) \
  $(if $(IMPORT_FROM),--import-from $(IMPORT_FROM)) $(if $(PRIOR),--prior $(PRIOR)) \
  $(if $(JOBS),--jobs $(JOBS)) $(if $(OUT),--out "$(OUT)")

compare: $(VENV)/.local  ## What a version of the policy gains over another: two folders of `make replay` (BEFORE=folder AFTER=folder PLAYER=product)
	@$(BIN)/python -m benchmarks.replays.compare "$(BEFORE)" "$(AFTER)" $(if $(PLAYER),--player $(PLAYER))

bench: $(VENV)/.plots  ## Speed and cost of the gateway beside a bare proxy (ROUNDS=5 SECONDS=2 PEERS=1 PAGE=docs/performance/results.md PARTS="load memory ...")
	@$(BIN)/python -m benchmarks.load $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SECONDS),--seconds $(SECONDS)) \
	  $(if $(PEERS),--peers) $(if $(PAGE),--page $(PAGE)) $(if $(POINTS),--points $(POINTS)) \
	  $(if $(PARTS)$(MEMORY),--parts $(PARTS) $(if $(MEMORY),memory))

evaluate: $(VENV)/.local  ## What other settings would have earned (LOG=file or DATABASE=1, SET="COST_WEIGHT=-0.5"); else the check by replay (RUNS=200)
	@$(BIN)/python -m $(if $(DATABASE),deploy.local.history benchmarks.evaluate --database $(foreach one,$(SET),--set $(one)),benchmarks.evaluate \
	  $(if $(LOG),--log "$(LOG)" $(foreach one,$(SET),--set $(one)),--validate \
	  $(if $(DATA),--data "$(DATA)") $(if $(RUNS),--runs $(RUNS))))

soak: $(VENV)/.local  ## Load with faults and the account of it (MINUTES=10 RPS=50 FAULTS=0.2, KILL=1: parts are killed)
	@$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),10) --rps $(or $(RPS),50) --faults $(or $(FAULTS),0.2) $(if $(KILL),--kill)

scale: $(VENV)/.test  ## Cost of a request in every process for 1 and 2 gateways, and at larger rates (GATEWAYS="1 2" REQUESTS=5000)
	@$(BIN)/python -m benchmarks.scale $(if $(GATEWAYS),--gateways $(GATEWAYS)) $(if $(REQUESTS),--requests $(REQUESTS))

chaos: $(VENV)/.chaos  ## Every fault in every part under load: what clients saw, what was lost (ONLY=redis/kill,/clock RPS=20)
	@$(BIN)/python -m benchmarks.chaos $(if $(ONLY),--only "$(ONLY)") $(if $(RPS),--rps $(RPS))

# Tests wait more than they compute: more workers than a small machine has processors. Bytecode is written even where the
# environment forbids it: each worker imports all tests, and they start hundreds of Python processes.
test: check  ## Everything, with real Redis, Qdrant engine and PostgreSQL (WORKERS=4: test files that run in parallel)
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n $(or $(WORKERS),4) --dist loadfile --no-loadscope-reorder

check: $(VENV)/.test  ## Format, lint, types, import contracts, size limits, docs: no server needed
	@$(BIN)/ruff format --check -q . && $(BIN)/ruff check -q .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tools.sizes
	@$(BIN)/python -m pytest tests/unit/docs/test_docs.py tests/unit/docs/test_docs_reference.py

configuration: $(VENV)/.test  ## Write the tables of settings and metrics in docs/ from the code
	@$(BIN)/python -m tools.doc_tables

langchain: .local/langchain/.installed  ## Install LangChain's client, so that `make test` tries it, too
.local/langchain/.installed: $(LOCKS)/langchain.txt
	@$(PYTHON) -m venv .local/langchain
	@.local/langchain/bin/python -m pip --disable-pip-version-check -q install --require-hashes -r $(LOCKS)/langchain.txt
	@touch $@

clients: .local/clients/.installed .local/clients-node/.installed  ## Install the clients of docs/clients.md, so that `make test` tries its snippets
.local/clients/.installed: $(LOCKS)/clients.txt
	@$(PYTHON) -m venv .local/clients
	@.local/clients/bin/python -m pip --disable-pip-version-check -q install --require-hashes -r $(LOCKS)/clients.txt
	@touch $@
.local/clients-node/.installed: tests/compatibility/node_clients/package-lock.json
	@mkdir -p .local/clients-node
	@cp tests/compatibility/node_clients/package.json tests/compatibility/node_clients/package-lock.json .local/clients-node/
	@cd .local/clients-node && npm ci --ignore-scripts --no-audit --no-fund --silent
	@cd .local/clients-node && node node_modules/@anthropic-ai/claude-code/install.cjs  # links the binary of this system
	@touch $@

compose-test:  ## Build, start and try deploy/docker-compose.yml; skips where no Docker engine answers
	@$(PYTHON) -m deploy.compose_test

chaos-test:  ## kill -9 of each container in turn under load (RATE=50); what clients saw, what was lost
	@$(PYTHON) -m deploy.chaos_test

mutants: $(VENV)/.test  ## Put one mistake at a time into a copy; do the tests notice? (ONLY=part or part/name,... JOBS=1 LIST=1 QUICK=1)
	@$(BIN)/python -m tools.mutants $(if $(ONLY),--only "$(ONLY)") $(if $(JOBS),--jobs $(JOBS)) $(if $(LIST),--list) \
	  $(if $(QUICK),--no-baseline)

format: $(VENV)/.test
	@$(BIN)/ruff check -q --fix . ; $(BIN)/ruff format -q .

lock: $(VENV)/.test  ## Rewrite the locked versions from pyproject.toml
	@$(BIN)/python -m deploy.lock

clean:  ## Remove everything that was installed or stored
	rm -rf $(VENV) .local

help:
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/'

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo 'Python 3.11, 3.12 or 3.13 with venv is needed; name one with: make run PYTHON=python3.11' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.local: $(VENV)/pyvenv.cfg $(LOCKS)/local.txt $(LOCKS)/data.txt
	@[ -f $(VENV)/.test ] || { echo 'Installing locked dependencies into $(VENV) (once) ...'; $(PIP) --require-hashes -r $(LOCKS)/local.txt; }
	@$(PIP) --require-hashes --no-deps -r $(LOCKS)/data.txt
	@touch $@

$(VENV)/.plots: $(VENV)/.local $(LOCKS)/plots.txt
	@$(PIP) --require-hashes -r $(LOCKS)/plots.txt
	@touch $@

$(VENV)/.chaos: $(VENV)/.local $(LOCKS)/chaos.txt
	@$(PIP) --require-hashes -r $(LOCKS)/chaos.txt
	@touch $@

$(VENV)/.test: $(VENV)/.local $(LOCKS)/test.txt
	@echo 'Installing locked test dependencies into $(VENV) (once) ...'
	@$(PIP) --require-hashes -r $(LOCKS)/test.txt
	@touch $@
