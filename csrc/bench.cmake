# bench.cmake - the C programs of tests/bench: `engine` on the engine as it is shipped, `stores` on one with FRIDGE_HOOKS,
# and `floor`, which has none.
set(tests_dir ${CMAKE_CURRENT_SOURCE_DIR}/../tests)
foreach(program engine stores)
    add_executable(${program} ${engine_sources} ${tests_dir}/bench/${program}.c)
    target_include_directories(${program} PRIVATE ${tests_dir}/c)
    target_link_libraries(${program} PRIVATE fridge_options)
endforeach()
target_compile_definitions(stores PRIVATE FRIDGE_HOOKS)
add_executable(floor ${tests_dir}/bench/floor.c)
target_link_libraries(floor PRIVATE fridge_options)
