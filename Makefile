# One line per target; the logic lives in ci/. A folder below packages/ gets its own targets by itself.
PAPERS := $(notdir $(wildcard packages/*))
BIN := .venv/bin
DEVICE ?= cpu
export SCALE SEEDS DATA OUT PLAN TABLE CONTROLS DEVICE

.DEFAULT_GOAL := help
.PHONY: help setup test lint types smoke fresh report cuda wheels alone clean reproduce-all $(PAPERS:%=reproduce-%) $(PAPERS:%=bench-%)

help: ## list the targets (the default)
	@ci/help Makefile $(PAPERS)
setup: ## make or update .venv from uv.lock (about 6 GiB); every other target does it first
	@ci/setup
test: setup ## run the tests: DEVICE=cuda adds those that need a GPU, ARGS="-k resume" goes to pytest
	@ci/test --device $(DEVICE) $(ARGS)
lint: setup ## formatting, lint rules and import rules
	@ci/lint
types: setup ## static types
	@$(BIN)/mypy
$(PAPERS:%=reproduce-%): reproduce-%: setup ## run what a paper's tables lack: SCALE=smoke|cpu|paper TABLE="ID ..." SEEDS="0 1 2" DATA=DIR OUT=DIR CONTROLS=1 PLAN=1 DEVICE=cpu|cuda
	@ci/reproduce $*
reproduce-all: setup ## the same for every paper, one after the other
	@ci/reproduce $(PAPERS)
report: setup ## make the generated tables, figures and README blocks anew from the committed records
	@ci/each report && $(BIN)/python ci/overview
$(PAPERS:%=bench-%): bench-%: setup ## speed as ratios, interleaved in one process: DEVICE=cpu|cuda
	@$(BIN)/$* bench --device $(DEVICE)
smoke: setup ## every recipe at the smoke scale, into a folder that is removed again
	@ci/smoke
fresh: setup ## check that the generated files are what `make report` would write
	@ci/each report --check && $(BIN)/python ci/overview --check
cuda: ## the checks that need a GPU, on a bare machine with torch: WHEELS=DIR, filled by `ci/cuda --fetch DIR`
	@python3 ci/cuda --wheels $(WHEELS)
wheels: setup ## build the wheels of all packages into dist/
	@ci/wheels
alone: wheels ## prove that the packages install and run without a checkout
	@ci/alone
clean: ## remove .venv, .tools, caches and dist/; runs/ and results stay
	@ci/clean
