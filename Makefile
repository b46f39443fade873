# hvcopy: one verb for each thing to do with this checkout.  `make` lists them.
#
# Everything happens in an environment of its own, .venv, which the first verb makes.  It needs Python 3.11 or newer
# and a C compiler, and says what is missing.  To choose:  make PYTHON=python3.12 CC=clang VERB

PYTHON ?=
VENV ?= .venv
JOBS ?= 6
ARGS ?=
BUNDLE_PYTHONS ?= 3.11 3.12 3.13 3.14

PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
CORE := hvcopy/_core.abi3.so
CORE_SOURCES := setup.py $(wildcard _core/*.py[xd] _core/*.pxi _core/*.pxd _core/*.h _core/*/*.[ch])
FAULTS_SOURCES := $(wildcard tests/faults/*.[ch]) tests/faults/build.py
PYTHON_FILES := $(wildcard hvcopy/*.py)

# Most of the tests' time is waiting, so there are more at once than processors; what shares a machine or a build is a group.
PYTEST := $(PY) -m pytest
AT_ONCE := -n $(JOBS) --dist loadgroup
LANES := -m lane
FETCH := $(PY) tests/lanes/parts.py --fetch kernel && $(PY) tests/lanes/parts.py --fetch guest
FETCH_WINDOWS = $(PY) tests/lanes/parts.py --fetch $(1) >/dev/null || echo "hvcopy: the $(1) lane lacks a part, see above"
# Several processes run the tests, much of whose time is waiting, so the core is compiled before them.
TEST_WINDOWS = $(PYTEST) -n 3 --dist loadgroup $(LANES) -k windows tests/lanes $(ARGS)

# The address sanitizer must be the first library of the process; Python's own allocator would hide errors from it.
ASAN_ENV = LD_PRELOAD="$(shell $(CC) -print-file-name=libasan.so):$(shell $(CC) -print-file-name=libubsan.so)" \
    ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc PYTHONPATH=build/asan

# Without its bytecode every command that is started compiles the package first, which is longer than all else it does.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test check build lanes lane-kernel lane-guest test-windows bench wheel dist bundle faults asan lint types
.PHONY: check-windows werror clean distclean FORCE

help: ## List the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS="$$(printf '\t')" read -r verb text; do \
	    printf '  make %-12s %s\n' "$$verb" "$$text"; done

demo: build ## Copy the standard library and 1 GiB through a socket, compare, show the rates (ARGS="--size 256M")
	@$(VENV)/bin/hvcopy demo $(ARGS)

test: build $(VENV)/.test build/faults/.built ## Run every test but those of Windows; lanes whose parts cannot be had are skipped, and say so
	@$(FETCH) >/dev/null || echo "hvcopy: lanes that lack a part are skipped, see above"
	$(PYTEST) $(AT_ONCE) --ignore-glob='*/lanes/test_windows*' $(ARGS)

check: lint types werror asan check-windows test ## All that must pass before a change lands: lint, types, layers, sanitizers, tests

check-windows: build $(VENV)/.test
	@$(call FETCH_WINDOWS,windows)
	@$(call FETCH_WINDOWS,windows-3.13)
	@$(PY) tests/lanes/windows/run.py -c pass || echo "hvcopy: the tests of Windows say why they cannot run"
	$(TEST_WINDOWS)

build: $(VENV)/.run $(CORE) ## Build the core and install the command into .venv

lanes: $(VENV)/.test ## Fetch what the lanes are made of: a kernel, busybox, a vsock device
	$(FETCH)

lane-kernel: build $(VENV)/.test ## Run the tests inside a kernel with AF_VSOCK of its own
	$(PY) tests/lanes/parts.py --fetch kernel
	$(PYTEST) $(LANES) -k kernel tests/lanes $(ARGS)

lane-guest: build $(VENV)/.test ## Run the tests across a real virtio-vsock device, with a guest kernel behind it
	$(PY) tests/lanes/parts.py --fetch guest
	$(PYTEST) $(LANES) -k "not kernel and not windows" tests/lanes $(ARGS)

test-windows: build $(VENV)/.test ## Run the tests with a Windows Python under Wine, the core cross-compiled
	$(PY) tests/lanes/parts.py --fetch windows
	@$(call FETCH_WINDOWS,windows-3.13)
	$(PY) tests/lanes/windows/run.py -c pass
	$(TEST_WINDOWS)

bench: build $(VENV)/.test ## Measure against socat, rsync, cp and others (ARGS="--help")
	$(PY) bench/run.py $(ARGS)

dist: $(VENV)/.check ## Build the sdist, and from it the abi3 wheel, into dist/
	$(PY) -m build --outdir dist .

wheel: $(VENV)/.check ## Build the wheel alone into dist/
	$(PY) -m build --wheel --outdir dist .

bundle: $(VENV)/.check $(VENV)/.bundle ## Build dist/hvcopy.pex, one file that needs nothing of a guest but its Python (docs/guest.md)
	rm -rf build/bundle
	$(PY) -m build --wheel --outdir build/bundle .
	$(PY) -m pex build/bundle/*.whl -c hvcopy -o dist/hvcopy.pex --venv --sh-boot --pex-root build/pex \
	    $(foreach V,$(BUNDLE_PYTHONS),--platform linux_$$(uname -m)-cp-$V-cp$(subst .,,$V))

faults: build $(VENV)/.test build/faults/.built ## Run the tests in which system calls fail by plan
	$(PYTEST) tests/faults $(ARGS)

asan: build $(VENV)/.test build/asan/.built ## Run the core's tests under the address and undefined-behaviour sanitizers
	$(ASAN_ENV) $(PY) -P -m pytest $(AT_ONCE) tests/core $(ARGS)

lint: $(VENV)/.check build ## Style, imports that point down only, the core's Cython
	$(PY) -m ruff check .
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cython-lint _core
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" lint-imports --no-cache

types: $(VENV)/.check build ## Types, for Linux and for Windows, and that the core is what its stub says
	$(PY) -m mypy
	$(PY) -m mypy --platform win32 --python-version 3.12
	$(PY) -m mypy.stubtest hvcopy._core

werror: build ## Compile the core with every warning an error
	HVCOPY_WERROR=1 $(PY) setup.py -q build_ext --build-lib build/werror --build-temp build/temp-werror

clean: ## Remove what was built; .venv and the lanes' parts stay
	rm -rf build dist *.egg-info $(CORE) bench/out
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find hvcopy tests bench -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## Remove .venv and the lanes' parts as well
	rm -rf $(VENV) .cache

# ---- how it is done

# With PYTHON= the script looks each time whether .venv is of that version; else the environment is made once.
$(PY): $(if $(PYTHON),FORCE)
	@.ci/venv $(VENV) $(PYTHON)

FORCE:

NO_PACKAGES = { echo; echo "hvcopy: the packages could not be installed, see above."; \
    echo "  They come from the Python package index: look whether this machine reaches it (a proxy is HTTPS_PROXY=...),"; \
    echo "  or name a folder of wheels: PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER make ..."; exit 1; } >&2

# What every build needs; pip 25.1 reads dependency groups.
$(VENV)/.tools: pyproject.toml | $(PY)
	@echo "hvcopy: fetching the build tools"
	@$(PIP) 'pip>=25.1' 'setuptools>=77' 'cython>=3.1,<4' || $(NO_PACKAGES)
	@touch $@

# Editable: a change of a Python file is in force at once; a change of the core is compiled by the next rule.
$(VENV)/.run: pyproject.toml $(VENV)/.tools | $(PY)
	@echo "hvcopy: compiling the core and installing the command into $(VENV)"
	@PYTHONWARNINGS=ignore $(PIP) --no-build-isolation --editable . || $(NO_PACKAGES)
	@touch $(CORE) $@

$(CORE): $(CORE_SOURCES) $(VENV)/.tools | $(VENV)/.run
	@echo "hvcopy: compiling the core"
	@$(PY) setup.py -q build_ext --inplace
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/.run
	@echo "hvcopy: fetching what the tests need"
	@$(PIP) --group test --group bundle build || $(NO_PACKAGES)
	@touch $@

$(VENV)/.check: pyproject.toml | $(VENV)/.test
	@echo "hvcopy: fetching what the checks need"
	@$(PIP) --group check || $(NO_PACKAGES)
	@touch $@

$(VENV)/.bundle: pyproject.toml | $(VENV)/.run
	@echo "hvcopy: fetching what puts many packages into one file"
	@$(PIP) --group bundle || $(NO_PACKAGES)
	@touch $@

build/faults/.built build/asan/.built: build/%/.built: $(CORE_SOURCES) $(FAULTS_SOURCES) $(PYTHON_FILES) | $(VENV)/.run
	@echo "hvcopy: compiling the core's $* build"
	@$(PY) tests/faults/build.py $* >/dev/null
	@touch $@
