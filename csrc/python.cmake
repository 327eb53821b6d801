# python.cmake - libfridge.so and the two extension modules that link it. One shared library, found beside the modules
# by $ORIGIN: so a process has one engine, one process slot and one set of handlers, whichever module asks first.
find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module)
execute_process(
    COMMAND ${Python_EXECUTABLE} -c
            "import sysconfig; print(sysconfig.get_config_var('Py_GIL_DISABLED') or 0, sysconfig.get_config_var('EXT_SUFFIX'))"
    OUTPUT_VARIABLE python_facts OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE " " ";" python_facts "${python_facts}")
list(GET python_facts 0 python_gil_disabled)
list(GET python_facts 1 python_suffix)

if(FRIDGE_VARIANT STREQUAL "asan") # for `make asan`; the interpreter preloads libasan
    target_compile_options(fridge_options INTERFACE ${asan_flags})
    target_link_options(fridge_options INTERFACE ${asan_flags})
endif()

add_library(fridge SHARED ${engine_sources})
target_link_libraries(fridge PRIVATE fridge_options)
target_link_options(fridge PRIVATE -Wl,-z,defs)

# fridge_module makes an extension module: abi3 for Pythons with a GIL, of this version's own ABI without one.
function(fridge_module name rpath)
    add_library(${name} MODULE ${ARGN})
    target_link_libraries(${name} PRIVATE fridge fridge_options Python::Module)
    set_target_properties(${name} PROPERTIES PREFIX "" INSTALL_RPATH "${rpath}" BUILD_WITH_INSTALL_RPATH ON)
    if(python_gil_disabled)
        set_target_properties(${name} PROPERTIES SUFFIX "${python_suffix}")
    else()
        set_target_properties(${name} PROPERTIES SUFFIX ".abi3.so")
        target_compile_definitions(${name} PRIVATE Py_LIMITED_API=0x030A0000)
    endif()
endfunction()

# The cffi module: its C is written by the build script out of the headers.
set(native_dir ${CMAKE_CURRENT_SOURCE_DIR}/../fridge/_native)
set(native_c ${CMAKE_CURRENT_BINARY_DIR}/_fridge.c)
file(GLOB_RECURSE exported_headers CONFIGURE_DEPENDS fridge*.h wire/*.h)
add_custom_command(
    OUTPUT ${native_c}
    COMMAND ${Python_EXECUTABLE} ${native_dir}/build.py ${CMAKE_CURRENT_SOURCE_DIR} ${native_c}
    DEPENDS ${native_dir}/build.py ${exported_headers}
    COMMENT "Writing the cffi module out of the headers" VERBATIM)
fridge_module(_fridge "$ORIGIN/.." ${native_c})
target_compile_options(_fridge PRIVATE -Wno-unused-parameter -Wno-missing-field-initializers) # cffi's C, not ours

file(GLOB hot_sources CONFIGURE_DEPENDS python/*.c)
if(hot_sources)
    fridge_module(_hot "$ORIGIN" ${hot_sources})
    install(TARGETS _hot LIBRARY DESTINATION fridge COMPONENT python)
endif()
install(TARGETS fridge LIBRARY DESTINATION fridge COMPONENT python)
install(TARGETS _fridge LIBRARY DESTINATION fridge/_native COMPONENT python)
