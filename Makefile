# `make` lists the targets. Each sets up what it needs first, once: .venv, in
# it the core (requirements.txt), and for some a group from requirements/.

-include .venv/choice.mk  # PYTHON, LATEST, GPU of this .venv, and CHOSEN
override PYTHON := $(or $(PYTHON),python3)
CHOICE := $(PYTHON)|$(LATEST)|$(GPU)
GPUS := $(patsubst requirements/gpu-%.txt,%,$(wildcard requirements/gpu-*))
GROUPS := notebooks bench tests
LOCK := $(if $(LATEST),requirements.txt,requirements/lock.txt)
OFFLINE := $(if $(wildcard wheelhouse),--no-index --find-links wheelhouse)
PIP := .venv/bin/python -m pip --disable-pip-version-check
DOOR := .venv/bin/python stages/workshop
CORE := .venv/has-core
STAGE := $(wildcard stages/stage$(N)_*.py)
NUMBERED := stage diff exercise check hint watch run inspect

ifneq (,$(filter $(NUMBERED),$(MAKECMDGOALS)))
ifneq (1,$(words $(STAGE)))
$(error N must be the number of a stage, got '$(N)': try \
  make $(firstword $(MAKECMDGOALS)) N=5)
endif
endif
ifneq (,$(filter-out $(GPUS),$(GPU)))
$(error GPU must be one of $(GPUS), or empty, got '$(GPU)')
endif

# Linux then backs large arrays with large pages (glibc 2.35 and later).
GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1
export GLIBC_TUNABLES

export CALL SETUP  # any text, quotes too

.NOTPARALLEL:  # two installations at once would meet in one folder
.PHONY: again $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' Makefile)

help:  ## list the targets
	@awk -F ':.*## ' '/^### / {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "make %-12s  %s\n", $$1, $$2}' Makefile

### attendee
tour: $(CORE)  ## run every stage in order
stage: $(CORE)  ## run one stage: make stage N=5 ARGS="--rule 30"
diff: $(CORE)  ## show what one stage changes: make diff N=5
exercise: $(CORE)  ## start an exercise: make exercise N=5 (FORCE=1: again)
check: $(CORE)  ## check your exercise: make check N=5
hint: $(CORE)  ## the next of three hints: make hint N=5
watch: $(CORE)  ## check at every save: make watch N=5
run: $(CORE)  ## run your exercise: make run N=5 ARGS="--rule 30"
progress: $(CORE)  ## which exercises pass
inspect: $(CORE)  ## what XLA made of a stage: make inspect N=5 (ARGS=4: beside)
doctor:  ## is this machine ready?
port: $(CORE)  ## your own program: OLD=old.py NEW=new.py CALL="f(x)"
pictures: $(CORE)  ## draw them by matthewplotlib (optional)
### instructor
cluster: $(CORE)  ## one ring in two processes, compared with stage 0
bench: .venv/has-bench  ## measure what each stage gains (ARGS=--quick)
bench-peers: .venv-peers/ready  ## measure other libraries beside
setup: .venv/has-all  ## all groups (PYTHON=python3.12, LATEST=1, GPU=cuda13)
wheelhouse: $(CORE)  ## download them all, for a room without a network
### learner
lab: .venv/has-notebooks  ## open your copies of the notebooks (FORCE=1: anew)
html: .venv/has-notebooks  ## run them, into pages in build/html; a handout
### maintainer
test: .venv/has-all  ## run the tests (ARGS=tests/test_diffs.py)
lint: .venv/has-all  ## check style and format
format: .venv/has-all  ## mend what lint can mend
notebooks: .venv/has-notebooks  ## make each notebook from the source beside it
bench-readme: .venv/has-bench  ## measure, and rewrite the table in README.md
links: $(CORE)  ## ask each outside link whether it answers
lock: $(CORE)  ## pin the versions that set-up installs
clean:  ## remove what was made, but not your own work

tour progress cluster:
	@$(DOOR) $@ $(ARGS)

$(NUMBERED):
	@$(DOOR) $@ '$(N)' $(if $(FORCE),--force) $(ARGS)

port:
	@$(DOOR) port $(if $(OLD),'$(OLD)') $(if $(NEW),'$(NEW)') \
	  $(if $(CALL),--call "$$CALL") $(if $(SETUP),--setup "$$SETUP") $(ARGS)

doctor:
	@$(MAKE) --silent --no-print-directory $(CORE) || true
	@python=.venv/bin/python; [ -x $$python ] || python='$(PYTHON)'; \
	  "$$python" stages/workshop doctor

lab:
	@.venv/bin/python notebooks/lab.py $(if $(FORCE),--force) $(ARGS)

links:
	@.venv/bin/python tests/links.py

html:
	@.venv/bin/python notebooks/convert.py html

notebooks:
	@.venv/bin/python notebooks/convert.py write

bench:
	@.venv/bin/python benchmarks/bench.py $(ARGS)

bench-readme:
	@.venv/bin/python benchmarks/bench.py --only small,large \
	  --readme README.md $(ARGS)

bench-peers:
	@.venv-peers/bin/python benchmarks/bench.py --only peers $(ARGS)

test:
	.venv/bin/python -m pytest $(ARGS)

lint:
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/python notebooks/convert.py check

format:
	.venv/bin/python -m ruff check --fix .
	.venv/bin/python -m ruff format .

lock:
	$(PIP) install --quiet uv
	.venv/bin/python -m uv pip compile --quiet --universal --upgrade \
	  --python-version 3.11 --custom-compile-command "make lock" \
	  requirements.txt $(GROUPS:%=requirements/%.txt) \
	  $(GPUS:%=requirements/gpu-%.txt) --output-file requirements/lock.txt

wheelhouse:
	@$(PIP) download --quiet --only-binary :all: -d wheelhouse \
	  -c requirements/lock.txt -r requirements.txt \
	  $(GROUPS:%=-r requirements/%.txt)
	@echo 'wheelhouse/ has what this system and this Python need'

clean:
	rm -rf .venv .venv-peers .pytest_cache .ruff_cache output.png
	rm -rf build
	find . -name __pycache__ -prune -exec rm -rf {} +

# An environment of its own, made anew for another choice of versions.
.venv/made: $(if $(filter-out $(CHOSEN),$(CHOICE)),again)
	@'$(PYTHON)' -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) \
	  and "PYTHON must be 3.11 or later, got %d.%d: " \
	  "add PYTHON=python3.12, say" % v[:2])'
	@rm -rf .venv
	@'$(PYTHON)' -m venv .venv
	@printf '%s\n' 'PYTHON ?= $(PYTHON)' 'LATEST ?= $(LATEST)' \
	  'GPU ?= $(GPU)' 'CHOSEN := $(CHOICE)' >.venv/choice.mk
	@touch $@

# Installs $<, whose first line says what it is; pip shows how it goes on a
# terminal, and is quiet elsewhere. A package without a RECORD is one in which
# pip was interrupted: it is forgotten. What is imported is compiled then.
define install
@echo "Setting up .venv, once. $$(sed -n '1s/^# //p' $<)"
@find .venv/lib/*/site-packages -maxdepth 1 -name '*.dist-info' \
  ! -exec test -f '{}/RECORD' ';' -exec rm -rf '{}' +
@quiet=; [ -t 1 ] || quiet=--quiet; $(PIP) install $$quiet --no-compile \
  $(OFFLINE) $(if $(LATEST),--upgrade) -c $(LOCK) -r $< \
  $(if $(filter $(CORE),$@),$(GPU:%=-r requirements/gpu-%.txt))
@touch $@
endef

$(CORE): requirements.txt $(LOCK) .venv/made
	$(install)

.venv/has-%: requirements/%.txt $(LOCK) $(CORE)
	$(install)

# git asks for no password, and gives up after 20 seconds of silence.
GIT := GIT_TERMINAL_PROMPT=0 GIT_HTTP_LOW_SPEED_LIMIT=1 \
  GIT_HTTP_LOW_SPEED_TIME=20

# What draws the pictures is tried; where it cannot be had, one line says so.
define try_pictures
@import='import matthewplotlib'; python=.venv/bin/python; \
  $$python -c "$$import" 2>.venv/pictures.log || \
  $(GIT) $(PIP) install -r requirements/pictures.txt \
    >.venv/pictures.log 2>&1 && $$python -c "$$import" 2>/dev/null || \
  echo 'going on without matthewplotlib: it needs Python 3.12, git, GitHub'
endef

pictures:
	$(try_pictures)

.venv/has-all: $(GROUPS:%=.venv/has-%)
	$(try_pictures)
	@touch $@

.venv-peers/ready: requirements/peers.txt | $(CORE)
	@echo 'setting up .venv-peers: once, a minute or two'
	@rm -rf .venv-peers
	@.venv/bin/python -m venv .venv-peers
	@grep '^[a-z]' $< | sed 's/ *#.*//' | while read -r peer; do \
	  .venv-peers/bin/python -m pip --disable-pip-version-check \
	    install --quiet "$$peer" >.venv-peers/install.log 2>&1 || \
	    echo "$$peer cannot be installed: going on without"; done
	@touch $@
