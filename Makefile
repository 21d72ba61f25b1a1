# `make` lists the targets. Every target first sets up what it needs, once.

-include .venv/choice.mk  # PYTHON and LATEST of the last set-up
override PYTHON := $(or $(PYTHON),python3)
PIP := .venv/bin/python -m pip --disable-pip-version-check
LOCK := $(if $(LATEST),requirements.txt,requirements.lock)
OFFLINE := $(if $(wildcard wheelhouse),--no-index --find-links wheelhouse)


# Made when set-up is through, for just this choice of versions.
READY := .venv/ready-$(subst /,-,$(PYTHON))$(if $(LATEST),-latest)

STAGE_NUMBER = $(or $(N),$(error N is missing: make $@ N=5))
STAGE = $(or $(wildcard stages/stage$(STAGE_NUMBER)_*.py),\
  $(error N must be the number of a stage, got '$(N)'))

.PHONY: help setup tour stage diff exercise check hint watch run progress \
  notebooks lab html links wheelhouse bench bench-readme bench-peers \
  test lint format doctor cluster lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' \
	  Makefile

setup: $(READY)  ## make .venv (PYTHON=python3.12, LATEST=1)

$(READY): $(LOCK) requirements-matthewplotlib.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and \
	  "PYTHON must be 3.11 or later, got %d.%d: try " \
	  "make setup PYTHON=python3.12" % v[:2])'
	@echo 'setting up .venv: once, up to some minutes, without a word'
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@$(PIP) install --quiet $(OFFLINE) -r $(LOCK)
	@$(PIP) install --quiet -r requirements-matthewplotlib.txt \
	  >.venv/matthewplotlib.log 2>&1; \
	  .venv/bin/python -c 'import matthewplotlib' 2>/dev/null || \
	  echo 'matthewplotlib (optional) is not to be had here: going on without'
	@printf 'PYTHON ?= %s\nLATEST ?= %s\n' '$(PYTHON)' '$(LATEST)' \
	  >.venv/choice.mk
	@touch $@

tour: setup  ## run every stage in order
	@.venv/bin/python stages/workshop tour

stage: setup  ## run one stage: make stage N=5 ARGS="--rule 30"
	@.venv/bin/python $(STAGE) $(ARGS)

diff: setup  ## show what one stage changes: make diff N=5
	@.venv/bin/python stages/workshop diff $(STAGE_NUMBER) $(ARGS)

exercise: setup  ## start an exercise: make exercise N=5 (FORCE=1: again)
	@.venv/bin/python stages/workshop exercise $(STAGE_NUMBER) \
	  $(if $(FORCE),--force)

check: setup  ## check your exercise: make check N=5
	@.venv/bin/python stages/workshop check $(STAGE_NUMBER) $(ARGS)

hint: setup  ## the next of three hints: make hint N=5
	@.venv/bin/python stages/workshop hint $(STAGE_NUMBER)

watch: setup  ## check at every save: make watch N=5
	@.venv/bin/python stages/workshop watch $(STAGE_NUMBER)

run: setup  ## run your exercise: make run N=5 ARGS="--rule 30"
	@.venv/bin/python stages/workshop run $(STAGE_NUMBER) $(ARGS)

progress: setup  ## which exercises pass
	@.venv/bin/python stages/workshop progress

notebooks: setup  ## make each notebook from the source beside it
	@.venv/bin/python notebooks/convert.py write

lab: setup  ## open the notebooks in JupyterLab
	@.venv/bin/jupyter lab \
	  --LabApp.default_url=/lab/tree/notebooks/1_port.ipynb $(ARGS)

html: setup  ## run the notebooks, into pages in build/html
	@.venv/bin/python notebooks/convert.py html

links: setup  ## ask each outside link whether it answers
	@.venv/bin/python stages/workshop links $(ARGS)

wheelhouse: setup  ## download all packages, for a room without a network
	@$(PIP) download --quiet --only-binary :all: -r requirements.lock \
	  -d wheelhouse
	@echo 'wheelhouse/ has what this system and this Python need'

bench: setup  ## measure what each stage gains (ARGS="--quick")
	@.venv/bin/python benchmarks/bench.py $(ARGS)

bench-readme: setup  ## measure, and rewrite the table in README.md
	@.venv/bin/python benchmarks/bench.py --only small,large \
	  --readme README.md $(ARGS)

bench-peers: .venv-peers/ready  ## measure other libraries beside
	@.venv-peers/bin/python benchmarks/bench.py --only peers $(ARGS)

.venv-peers/ready: requirements-peers.txt | setup
	@echo 'setting up .venv-peers: once, a minute or two'
	@rm -rf .venv-peers
	@.venv/bin/python -m venv .venv-peers
	@grep '^[a-z]' $< | sed 's/ *#.*//' | while read -r peer; do \
	  .venv-peers/bin/python -m pip --disable-pip-version-check \
	    install --quiet "$$peer" >.venv-peers/install.log 2>&1 || \
	    echo "$$peer cannot be installed: going on without"; done
	@touch $@

test: setup  ## run the tests
	.venv/bin/python -m pytest $(ARGS)

lint: setup  ## check style and format
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/python notebooks/convert.py check

format: setup  ## mend what lint can mend
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

doctor:  ## is this machine ready?
	@$(MAKE) --silent --no-print-directory setup || true
	@$$(ls .venv/bin/python 2>/dev/null || echo $(PYTHON)) \
	  stages/workshop doctor

cluster: setup  ## one ring in two processes, compared with stage 0
	@.venv/bin/python stages/workshop cluster $(ARGS)

lock: setup  ## pin the versions that set-up installs
	$(PIP) install --quiet uv
	.venv/bin/uv pip compile --quiet --universal --python-version 3.11 \
	  --custom-compile-command "make lock" --upgrade \
	  requirements.txt --output-file requirements.lock

clean:  ## remove what was made, but not exercises/ and wheelhouse/
	rm -rf .venv .venv-peers .pytest_cache .hypothesis .ruff_cache output.png
	rm -rf build
	find . -name __pycache__ -prune -exec rm -rf {} +
