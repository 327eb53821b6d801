#!/bin/sh
# sanitized.sh <venv> <folder> [pytest argument...]: pytest with the extension and libfridge under AddressSanitizer and
# UBSan.
#
# The package is built once more, with FRIDGE_VARIANT=asan, and installed into an environment of its own in <folder>, which
# finds everything else in <venv>. The interpreter is not instrumented, so libasan is preloaded, and with it into every child
# that a test starts, servers and forks included; the first finding ends the process that has it, with status 86.
# Leaks are not looked for here: the interpreter never frees everything. The C tests do that (make asan).
set -eu
venv=$(cd "$1" && pwd)
mkdir -p "$2"
folder=$(cd "$2" && pwd)
shift 2
root=$(cd "$(dirname "$0")/.." && pwd)
cc=${CC:-cc}

if [ ! -x "$folder/bin/python" ]; then
    "$venv/bin/python" -m venv --without-pip "$folder"
    "$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
        >"$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/chain.pth"
fi
PATH="$venv/bin:$PATH" "$venv/bin/python" -m pip --python "$folder/bin/python" --disable-pip-version-check -q install \
    --no-build-isolation --no-deps --force-reinstall -C cmake.define.FRIDGE_VARIANT=asan -C "build-dir=$folder/build" \
    -e "$root"

LD_PRELOAD="$("$cc" -print-file-name=libasan.so) $("$cc" -print-file-name=libubsan.so)"
ASAN_OPTIONS=detect_leaks=0:halt_on_error=1:exitcode=86:allocator_may_return_null=1:handle_sigbus=0:handle_segv=1
UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1:exitcode=86
FRIDGE_SANITIZED=1
export LD_PRELOAD ASAN_OPTIONS UBSAN_OPTIONS FRIDGE_SANITIZED
cd "$root"
# Left out: a bound on the time of an import; a bound on memory, of which a sanitizer takes ten times as much; a test that
# builds the package for other Pythons, without sanitizers; one in which fork has to be quicker than latch-timeout; and what
# shadows libc by LD_PRELOAD, where the sanitizer's own library must come first.
exec "$folder/bin/python" "$venv/bin/pytest" "$@" \
    --deselect tests/test_mmap.py::test_importing_is_quick_and_starts_nothing \
    --deselect tests/test_server.py::test_an_idle_server_takes_at_most_60_mb \
    --deselect tests/test_pythons.py::test_several_pythons_on_one_segment \
    --deselect tests/crash/test_forks.py::test_fork_under_threads \
    --deselect tests/test_keys.py::test_expiry_does_not_follow_a_jump_of_the_wall_clock \
    --deselect tests/test_bad_files.py::test_a_network_file_system_is_refused
