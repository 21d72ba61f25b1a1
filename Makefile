# `make` lists the targets. A target first installs what it needs, once: the
# core, requirements.txt, into .venv, and its own group from requirements/.

-include .venv/choice.mk  # the PYTHON, LATEST and GPU of this .venv
override PYTHON := $(or $(PYTHON),python3)
LOCK := $(if $(LATEST),requirements.txt,requirements/lock.txt)
OFFLINE := $(if $(wildcard wheelhouse),--no-index --find-links wheelhouse)
PIP := .venv/bin/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --no-compile $(OFFLINE) -c $(LOCK)
CORE := .venv/has-core-$(subst /,-,$(PYTHON))-$(LATEST)-$(GPU)
LISTS := requirements.txt $(GPU:%=requirements/gpu-%.txt)
GROUPS := notebooks bench tests
ALL := $(GROUPS:%=.venv/has-%)
WORKSHOP := .venv/bin/python stages/workshop

# Recipes read these from the environment, "$$N": they may hold any character.
# The shell splits $(ARGS). The override keeps make from expanding a $ in them.
TEXTS := N OLD NEW CALL SETUP LARGER RTOL ARGS
$(foreach text,$(TEXTS),$(eval override $(text) := $$(value $(text))))
export $(TEXTS)
CODE := $(if $(CALL),--call "$$CALL") $(if $(SETUP),--setup "$$SETUP")

# Linux then backs large arrays with huge pages (glibc 2.35 or later).
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1
# Many containers set this. Python then compiles JAX's source at every start.
unexport PYTHONDONTWRITEBYTECODE

.NOTPARALLEL:  # two installations at once would write to the same folder
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' Makefile)
help:
	@awk -F ':.*## ' '/^### / {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "make %-12s  %s\n", $$1, $$2}' Makefile

### attendee
tour:  ## run every stage in order
stage:  ## run one stage: make stage N=5 ARGS="--rule 30"
diff:  ## show what one stage changes: make diff N=5
exercise:  ## start an exercise: make exercise N=5 (FORCE=1: again)
check:  ## check your exercise: make check N=5
hint:  ## show the next of three hints: make hint N=5
watch:  ## check your exercise at every save: make watch N=5
run:  ## run your exercise: make run N=5 ARGS="--rule 30"
progress:  ## list which exercises pass
tour progress cluster: $(CORE)
	@$(WORKSHOP) $@ $(ARGS)
stage diff exercise check hint watch run: $(CORE)
	@$(WORKSHOP) $@ "$$N" $(if $(FORCE),--force) $(ARGS)
inspect: $(CORE)  ## show what XLA makes of a stage or a file: make inspect N=5
	@$(WORKSHOP) inspect "$$N" $(CODE) $(ARGS)
port: $(CORE)  ## your own program: OLD=old.py NEW=new.py CALL="f(x)" (SETUP=)
	@$(WORKSHOP) port $(if $(OLD),"$$OLD") $(if $(NEW),"$$NEW") $(CODE) \
	  $(if $(LARGER),--larger "$$LARGER") $(if $(RTOL),--rtol "$$RTOL") $(ARGS)
doctor:  ## check whether this machine is ready
	@$(MAKE) -s --no-print-directory $(CORE) || true
	@$$(command -v .venv/bin/python || echo $(PYTHON)) stages/workshop doctor
pictures: $(CORE)  ## install matthewplotlib, which draws in color (optional)
	-@GIT_TERMINAL_PROMPT=0 $(PIP) install -r requirements/pictures.txt

### instructor
cluster:  ## run one ring in two processes, and compare with stage 0
bench: .venv/has-bench  ## measure what each stage gains (ARGS=--quick)
	@$(WORKSHOP) bench $(ARGS)
bench-peers: .venv-peers/ready  ## measure other libraries too
	@.venv-peers/bin/python stages/workshop bench --only peers $(ARGS)
setup: $(ALL) pictures  ## install all (PYTHON=python3.12 LATEST=1 GPU=cuda13)
wheelhouse: $(CORE)  ## download all, to set up without a network
	@$(PIP) download --only-binary :all: -d wheelhouse -c $(LOCK) \
	  $(LISTS:%=-r %) $(GROUPS:%=-r requirements/%.txt)

### learner
lab: .venv/has-notebooks  ## open your copies of the notebooks
	@.venv/bin/python notebooks/lab.py $(ARGS)
html: .venv/has-notebooks  ## make pages of the notebooks in build/html
	@.venv/bin/python notebooks/convert.py html

### maintainer
test: $(ALL)  ## run the tests (ARGS=tests/test_stages.py)
	@.venv/bin/python -m pytest $(ARGS)
lint: $(ALL)  ## check style and format
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .
format: $(ALL)  ## fix what lint can fix
	@.venv/bin/ruff check --fix . ; .venv/bin/ruff format .
notebooks: .venv/has-notebooks  ## make each notebook from the source beside it
	@.venv/bin/python notebooks/convert.py write
lock: $(CORE)  ## pin the versions that set-up installs
	@$(PIP) install uv && .venv/bin/uv pip compile --quiet --universal \
	  --upgrade --no-annotate --python-version 3.11 -o requirements/lock.txt \
	  requirements.txt requirements/gpu-*.txt $(GROUPS:%=requirements/%.txt)
clean:  ## remove what was made, but not your own work
	rm -rf .venv .venv-peers .pytest_cache .ruff_cache build output.png

# Another PYTHON, LATEST or GPU changes the name of this file: .venv is new.
$(CORE): $(LISTS) $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "Python 3.11 or later is needed: add PYTHON=python3.12, for example")'
	@echo 'Setting up .venv, once. There are about 150 MB to download.'
	@[ -e $@ ] || rm -rf .venv; $(PYTHON) -m venv .venv
	@printf '%s\n' PYTHON=$(PYTHON) LATEST=$(LATEST) GPU=$(GPU) >.venv/choice.mk
	@$(INSTALL) $(LISTS:%=-r %) && touch $@

# A package without a RECORD was interrupted while pip installed it.
.venv/has-%: requirements/%.txt $(CORE)
	@for package in .venv/lib/*/site-packages/*.dist-info; do \
	  [ -f "$$package/RECORD" ] || rm -rf "$$package"; done
	@$(INSTALL) -r $< && touch $@

.venv-peers/ready: requirements/peers.txt | $(CORE)
	@rm -rf .venv-peers && .venv/bin/python -m venv .venv-peers
	@.venv-peers/bin/python -m pip install -r $< && touch $@
