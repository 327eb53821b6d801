# tests.cmake - the C tests: a program for each tests/c/test_X.c, and the crash and fuzz programs.
#
# In tests/c and tests/crash a .c file with a `main` at the start of a line is a program; one without is shared by the
# programs of its folder. ctest labels: c, crash, fuzz. The fuzz programs run under AddressSanitizer and UBSan whatever the
# variant is, but for tsan, which leaves them out; the fuzz variant builds tests/fuzz/session.c for libFuzzer, which the
# Makefile runs.
enable_testing()
set(tests_dir ${CMAKE_CURRENT_SOURCE_DIR}/../tests)

set(variant_flags "")
if(FRIDGE_VARIANT STREQUAL "asan")
    set(variant_flags ${asan_flags})
elseif(FRIDGE_VARIANT STREQUAL "tsan")
    set(variant_flags -O1 -g -fno-omit-frame-pointer -fsanitize=thread -DFRIDGE_SAN)
elseif(FRIDGE_VARIANT STREQUAL "fuzz")
    if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
        message(FATAL_ERROR "the fuzz variant needs clang: configure with -DCMAKE_C_COMPILER=clang")
    endif()
    set(variant_flags -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined,fuzzer-no-link)
endif()

# engine(target flag...) is the engine with hooks. -UNDEBUG: in tests assert() asserts. The flags come last and therefore win
# over Release's.
function(engine target)
    add_library(${target} STATIC ${engine_sources})
    target_link_libraries(${target} PUBLIC fridge_options)
    target_compile_definitions(${target} PUBLIC FRIDGE_HOOKS)
    target_compile_options(${target} PUBLIC -UNDEBUG ${ARGN})
    target_link_options(${target} PUBLIC ${ARGN})
endfunction()

engine(fridge_hooks ${variant_flags})

# fridge_programs builds the programs of tests/<folder> (target <label>_all) and registers them with ctest under <label>.
function(fridge_programs folder label seconds)
    file(GLOB sources CONFIGURE_DEPENDS ${tests_dir}/${folder}/*.c)
    set(programs "")
    set(shared "")
    foreach(source IN LISTS sources)
        file(STRINGS ${source} main_line REGEX "^(int )?main *\\(" LIMIT_COUNT 1)
        if(main_line)
            list(APPEND programs ${source})
        else()
            list(APPEND shared ${source})
        endif()
    endforeach()
    add_custom_target(${label}_all)
    foreach(source IN LISTS programs)
        get_filename_component(name ${source} NAME_WE)
        set(target ${label}_${name})
        add_executable(${target} ${source} ${shared})
        set_target_properties(${target} PROPERTIES OUTPUT_NAME ${label}/${name})
        target_include_directories(${target} PRIVATE ${tests_dir}/${folder} ${tests_dir}/c)
        target_link_libraries(${target} PRIVATE fridge_hooks)
        add_dependencies(${label}_all ${target})
        add_test(NAME ${label}/${name} COMMAND ${target})
        set_tests_properties(${label}/${name} PROPERTIES LABELS ${label} TIMEOUT ${seconds})
    endforeach()
endfunction()

# fuzz_program builds tests/fuzz/<name>.c with `shared`, files of tests/, and registers it; further words are functions
# that it replaces (ld --wrap).
function(fuzz_program name shared)
    list(TRANSFORM shared PREPEND ${tests_dir}/)
    add_executable(fuzz_${name} ${tests_dir}/fuzz/${name}.c ${shared})
    set_target_properties(fuzz_${name} PROPERTIES OUTPUT_NAME fuzz/${name})
    target_include_directories(fuzz_${name} PRIVATE ${tests_dir}/fuzz ${tests_dir}/crash ${tests_dir}/c)
    target_link_libraries(fuzz_${name} PRIVATE fridge_sane)
    foreach(function IN LISTS ARGN)
        target_link_options(fuzz_${name} PRIVATE LINKER:--wrap=${function})
    endforeach()
    add_test(NAME fuzz/${name} COMMAND fuzz_${name})
    set_tests_properties(fuzz/${name} PROPERTIES LABELS fuzz TIMEOUT 3600)
endfunction()

file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/c ${CMAKE_CURRENT_BINARY_DIR}/crash ${CMAKE_CURRENT_BINARY_DIR}/fuzz)
if(FRIDGE_VARIANT STREQUAL "fuzz")
    add_executable(fuzz_session ${tests_dir}/fuzz/session.c)
    target_include_directories(fuzz_session PRIVATE ${tests_dir}/fuzz ${tests_dir}/c)
    target_compile_definitions(fuzz_session PRIVATE FRIDGE_LIBFUZZER)
    target_link_libraries(fuzz_session PRIVATE fridge_hooks)
    target_link_options(fuzz_session PRIVATE -fsanitize=fuzzer LINKER:--wrap=clock_boot_ms,--wrap=clock_gettime)
else()
    set(crash_seconds 900)
    if(DEFINED ENV{FRIDGE_PROOF}) # make proof configures anew
        set(crash_seconds 86400)
    endif()
    fridge_programs(c c 300)
    fridge_programs(crash crash ${crash_seconds})
    if(NOT FRIDGE_VARIANT STREQUAL "tsan")
        engine(fridge_sane ${asan_flags})
        set(scripts crash/script.c crash/verbs.c crash/states.c crash/doors.c crash/dump.c)
        fuzz_program(segment_file "fuzz/fuzz.c;fuzz/mutate.c;${scripts}" clock_boot_ms nanosleep syscall)
        fuzz_program(session fuzz/fuzz.c clock_boot_ms clock_gettime)
        list(REMOVE_ITEM scripts crash/script.c) # which it includes
        fuzz_program(fail_nth "${scripts}" malloc calloc realloc strdup strndup asprintf realpath madvise mmap munmap open fcntl fchmod
            fstat lstat mkdir pread getrandom linkat rename fdatasync syscall)
    endif()
endif()
