# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later

# Settings of the machine must not change the language of messages or the repository that git commands use.
export LC_ALL := C.UTF-8
unexport GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
# Tests start Python thousands of times: without its compiled files, each start would compile the collection again.
unexport PYTHONDONTWRITEBYTECODE
export PIP_RETRIES ?= 10

PREFIX ?= /usr/local
DESTDIR ?=
# The virtual environment is made with a Python that every user of the machine can run.
PYTHON ?= $(shell for p in /usr/bin/python3 python3; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# Number of tests that run at once: one more than there are processors, because some wait for a container. Each process starts its own Incus.
JOBS ?= $(shell expr $$(nproc) + 1)
VENV := .venv
BIN := $(VENV)/bin
# Directory in which tests make their trees; tests marked with `disk` always use the disk.
TEST_TMP = $(shell scripts/fast-tmp)
# Large pages save page faults when programs start, which the tests do all the time.
LARGE_PAGES = GLIBC_TUNABLES=glibc.malloc.hugetlb=1
PYTEST = env $(LARGE_PAGES) TEST_TMP="$(TEST_TMP)" TMPDIR="$(TEST_TMP)" $(BIN)/pytest --numprocesses $(JOBS) --dist loadgroup
LIB_DIR := $(DESTDIR)$(PREFIX)/lib/repoman
SHARE_DIR := $(DESTDIR)$(PREFIX)/share
PROFILES_DIR := $(SHARE_DIR)/repoman/profiles
# Where the shells look for completions, and man for its pages.
BASH_COMPLETION := $(SHARE_DIR)/bash-completion/completions/repoman
ZSH_COMPLETION := $(SHARE_DIR)/zsh/site-functions/_repoman
FISH_COMPLETION := $(SHARE_DIR)/fish/vendor_completions.d/repoman.fish
MAN_PAGE := $(SHARE_DIR)/man/man1/repoman.1

.DEFAULT_GOAL := help
.PHONY: help demo drill picture test test-unit test-long test-long-engine test-long-product test-long-soak test-nfs test-matrix bench lint docs docs-reference deb changelog machine newest venv install uninstall clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: machine ## set everything up and show the main features; KEEP=1 leaves it running
	@scripts/demo

drill: machine ## destroy a host, and bring everything back from its backup; BACKUP=DIR puts the backup there, DRILL=--elsewhere changes host and user
	@scripts/drill $(DRILL)

test: machine newest venv ## set everything up and run all tests
	REPOMAN_SMOKE=1 scripts/dev-incus run -- $(PYTEST)

test-unit: newest venv ## run the quick tests, without Incus and without the large tables of the backup engine
	$(PYTEST) tests/unit -m "not engine"

test-nfs: venv ## test sync and restore over a real NFS mount that is cut off and filled, in a separate kernel (root)
	@scripts/nfs-lab install
	scripts/nfs-lab run $(BIN)/pytest tests/nfs -p no:cacheprovider

# Which of the random cases, so that what failed can be run again.
SEED ?= 0
# Every so many of the system calls, and of the requests to Incus, that go wrong.
FAULTS ?= 20
LONG_ENGINE = $(addprefix tests/unit/backup/mirror/,test_zoo.py test_mirror.py test_mirror_races.py test_hostile_trees.py git/test_git_damage.py \
	git/test_object_restore.py hg/test_hg_damage.py) $(addprefix tests/unit/backup/,restore/test_random_histories.py test_first_edition.py test_versions.py)
LONG_PRODUCT = tests/unit/fuzz $(addprefix tests/integration/,test_any_order.py test_crowd.py test_killed.py test_fault_calls.py \
	test_fault_orderings.py test_fault_requests.py test_full_disk.py)
# Every part runs, even if an earlier one fails; at the end make names those that failed.
test-long: machine newest venv ## look for unknown faults: kinds of repositories, races, kills, errors of system calls and of Incus, any order, many at once; SEED=N chooses
	@$(BIN)/python -c 'import atheris' 2>/dev/null \
		|| scripts/retry $(BIN)/pip install -qq --disable-pip-version-check --only-binary atheris --editable '.[fuzz]' \
		|| { echo '==> atheris is not available: only the hypothesis tests run'; [ -z "$$CI" ]; }
	@$(MAKE) --no-print-directory --keep-going --jobs=1 test-long-engine test-long-product test-long-soak

test-long-engine test-long-product test-long-soak: TEST_TMP = /var/tmp
test-long-engine:
	REPOMAN_ZOO=1 REPOMAN_RACES=15 REPOMAN_TREES=300 REPOMAN_KILL_STEP=10 REPOMAN_EXAMPLES=10 REPOMAN_SEED=$(SEED) \
		$(PYTEST) --hypothesis-seed=$(SEED) $(LONG_ENGINE) $$(grep -rl --include='test_*.py' --exclude-dir=fuzz 'from hypothesis' tests/unit)
test-long-product:
	REPOMAN_SMOKE=1 REPOMAN_COVERAGE=20 REPOMAN_FAULTS=$(FAULTS) REPOMAN_ROUNDS=10 REPOMAN_EXAMPLES=10 REPOMAN_SEED=$(SEED) \
		scripts/dev-incus run -- $(PYTEST) --hypothesis-seed=$(SEED) $(LONG_PRODUCT)
test-long-soak:
	REPOMAN_SMOKE=1 REPOMAN_SOAK=600 scripts/dev-incus run -- $(PYTEST) --numprocesses 0 tests/integration/test_soak.py

# What only prints must neither install nor build anything.
ONLY_PRINTS = $(filter --list --help -h,$(BENCH))
bench: $(if $(ONLY_PRINTS),,machine venv) ## measure what people wait for, in pairs with what they would type instead; BENCH='--list', '--rows new', '--all', '--help'
	@env PYTHONPATH=tests $(if $(ONLY_PRINTS),$(PYTHON) -B,$(BIN)/python) -m bench $(BENCH)

lint: venv ## run all checks
	@scripts/gates

docs: venv ## build the documentation site in .dev/docs/html
	@scripts/docs

picture: machine venv ## record the first steps as the picture of the README
	@scripts/picture

docs-reference: venv ## write the reference of the command and the registry, the man page, and the schema of --json
	$(BIN)/python scripts/write_reference.py
	$(BIN)/python scripts/write_schema.py

deb: venv ## build the Debian package in dist
	@packaging/debian/build

changelog: venv ## write CHANGELOG.md from changelogs/fragments
	@scripts/changelog

test-matrix: venv ## run the fast tests and the main features on each supported ansible-core
	@scripts/test-matrix

machine:
	@scripts/dev-incus install
	@scripts/dev-incus images

# A machine without a network skips this, except in CI.
newest:
	@scripts/newest-vcs $(PYTHON) || [ -z "$$CI" ]

venv: $(VENV)/.done

$(VENV)/.done: pyproject.toml hatch_build.py scripts/dev-incus
	@scripts/dev-incus install
	$(PYTHON) -m venv $(VENV)
	scripts/retry $(BIN)/pip install -qq --disable-pip-version-check --editable '.[dev]'
	@touch $@

install: ## install the command, its man page and completions, and the vendor profiles to PREFIX (/usr/local), under DESTDIR
	install -d $(LIB_DIR) $(DESTDIR)$(PREFIX)/bin $(PROFILES_DIR)
	$(PYTHON) -m venv $(LIB_DIR)/venv
	scripts/retry $(LIB_DIR)/venv/bin/pip install -qq --disable-pip-version-check .
	printf '#!/bin/sh\nexport REPOMAN_VENDOR_DIR="$${REPOMAN_VENDOR_DIR:-%s}"\nexec %s -s -P -m repoman "$$@"\n' \
		'$(PREFIX)/share/repoman/profiles' '$(PREFIX)/lib/repoman/venv/bin/python' >$(DESTDIR)$(PREFIX)/bin/repoman
	chmod 0755 $(DESTDIR)$(PREFIX)/bin/repoman
	install -m 0644 profiles/*.yml $(PROFILES_DIR)/
	install -D -m 0644 docs/man/repoman.1 $(MAN_PAGE)
	for pair in bash:$(BASH_COMPLETION) zsh:$(ZSH_COMPLETION) fish:$(FISH_COMPLETION); do \
		install -D -m 0644 /dev/null "$${pair#*:}" && \
		$(LIB_DIR)/venv/bin/python -m repoman completion "$${pair%%:*}" >"$${pair#*:}" || exit; done

uninstall: ## remove everything that install installed
	rm -f $(DESTDIR)$(PREFIX)/bin/repoman
	rm -f $(MAN_PAGE) $(BASH_COMPLETION) $(ZSH_COMPLETION) $(FISH_COMPLETION)
	rm -rf $(LIB_DIR)
	rm -f $(patsubst profiles/%,$(PROFILES_DIR)/%,$(wildcard profiles/*.yml))
	-rmdir $(PROFILES_DIR) $(SHARE_DIR)/repoman 2>/dev/null

clean: ## remove everything that the other targets created in this directory
	rm -rf $(VENV) .dev .mypy_cache .pytest_cache .ruff_cache .hypothesis
