# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later

# What a machine's settings may not change: the language of messages, the repository that git commands are about.
export LC_ALL := C.UTF-8
unexport GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
# Tests start Python thousands of times: without its compiled files each start compiles the collection anew.
unexport PYTHONDONTWRITEBYTECODE
export PIP_RETRIES ?= 10

PREFIX ?= /usr/local
DESTDIR ?=
# The virtual environment is made with a Python that any user of the machine can run.
PYTHON ?= $(shell for p in /usr/bin/python3 python3; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# How many tests run at once: one more than there are processors, as some wait for a container. Each process starts an Incus of its own.
JOBS ?= $(shell expr $$(nproc) + 1)
VENV := .venv
BIN := $(VENV)/bin
# Where tests make their trees; the tests marked with `disk` make them on the disk all the same.
TEST_TMP = $(shell scripts/fast-tmp)
PYTEST = env TEST_TMP="$(TEST_TMP)" TMPDIR="$(TEST_TMP)" $(BIN)/pytest --numprocesses $(JOBS) --dist loadgroup
LIB_DIR := $(DESTDIR)$(PREFIX)/lib/repoman
PROFILES_DIR := $(DESTDIR)$(PREFIX)/share/repoman/profiles

.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-long test-nfs test-matrix bench lint docs changelog machine newest venv install uninstall clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: machine ## set everything up and run the main job as a story; KEEP=1 leaves it running
	@scripts/demo

test: machine newest venv ## set everything up and run all tests
	REPOMAN_SMOKE=1 scripts/dev-incus run -- $(PYTEST)

test-unit: newest venv ## only the tests that need no Incus
	$(PYTEST) tests/unit

test-nfs: venv ## sync and restore over a real NFS mount, cut off and filled, in a kernel of its own (root)
	@scripts/nfs-lab install
	scripts/nfs-lab run $(BIN)/pytest tests/nfs -p no:cacheprovider

test-long: TEST_TMP = /var/tmp
test-long: newest venv ## every kind of repository; races with writers and kills, many times over; on the disk
	REPOMAN_ZOO=1 REPOMAN_RACES=60 REPOMAN_TREES=300 REPOMAN_KILL_STEP=5 \
		$(PYTEST) $(addprefix tests/unit/backup/mirror/,test_zoo.py test_mirror.py test_mirror_races.py test_hostile_trees.py git/test_git_damage.py git/test_object_restore.py hg/test_hg_damage.py)

bench: venv ## what sync costs beside rsync; BENCH='--runs 9 --latency --million'
	$(BIN)/python tests/bench/sync.py $(BENCH)

lint: venv ## all gates
	@scripts/gates

docs: venv ## the documentation site, to .dev/docs/html
	@scripts/docs

changelog: venv ## CHANGELOG.md from changelogs/fragments
	@scripts/changelog

test-matrix: venv ## the fast tests and the main job on each supported ansible-core
	@scripts/test-matrix

machine:
	@scripts/dev-incus install
	@scripts/dev-incus images

# A machine without the network goes without, unless it is to answer for all tests.
newest:
	@scripts/newest-vcs $(PYTHON) || [ -z "$$CI" ]

venv: $(VENV)/.done

$(VENV)/.done: pyproject.toml hatch_build.py scripts/dev-incus
	@scripts/dev-incus install
	$(PYTHON) -m venv $(VENV)
	scripts/retry $(BIN)/pip install -qq --disable-pip-version-check --editable '.[dev]'
	@touch $@

install: ## the command and the vendor profiles, to PREFIX (/usr/local), under DESTDIR
	install -d $(LIB_DIR) $(DESTDIR)$(PREFIX)/bin $(PROFILES_DIR)
	$(PYTHON) -m venv $(LIB_DIR)/venv
	scripts/retry $(LIB_DIR)/venv/bin/pip install -qq --disable-pip-version-check .
	printf '#!/bin/sh\nexport REPOMAN_VENDOR_DIR="$${REPOMAN_VENDOR_DIR:-%s}"\nexec %s -m repoman "$$@"\n' \
		'$(PREFIX)/share/repoman/profiles' '$(PREFIX)/lib/repoman/venv/bin/python' >$(DESTDIR)$(PREFIX)/bin/repoman
	chmod 0755 $(DESTDIR)$(PREFIX)/bin/repoman
	install -m 0644 profiles/*.yml $(PROFILES_DIR)/

uninstall: ## what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/repoman
	rm -rf $(LIB_DIR)
	rm -f $(patsubst profiles/%,$(PROFILES_DIR)/%,$(wildcard profiles/*.yml))
	-rmdir $(PROFILES_DIR) $(DESTDIR)$(PREFIX)/share/repoman 2>/dev/null

clean: ## what the other targets made in this directory
	rm -rf $(VENV) .dev .mypy_cache .pytest_cache .ruff_cache .hypothesis
