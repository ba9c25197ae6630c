# The compiler, its flags, and the check that it is right on coroutines.
if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang" OR CMAKE_CXX_COMPILER_VERSION VERSION_LESS 19)
  message(FATAL_ERROR "grua is built with clang 19 or newer (found ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}); "
                      "use a preset: cmake --preset debug")
endif()

find_program(CCACHE ccache)
if(CCACHE)
  # Build folders share results: the compilation directory is not part of the key. Nor is a flag that changes no code; what it complains
  # about is no result.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_NOHASHDIR=1 CCACHE_BASEDIR=${CMAKE_SOURCE_DIR}
      CCACHE_IGNOREOPTIONS=-Wthread-safety CCACHE_SLOPPINESS=pch_defines,time_macros CCACHE_PCH_EXTSUM=1 ${CCACHE})
endif()

add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-missing-field-initializers -Wthread-safety -Werror
                    -fstack-protector-strong -ffunction-sections -fdata-sections)
add_link_options(-fuse-ld=lld -Wl,--gc-sections)
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
  add_compile_options(-O1 -gline-tables-only -fno-omit-frame-pointer)
else()
  add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
if(GRUA_SANITIZE)
  add_compile_options(-fsanitize=${GRUA_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${GRUA_SANITIZE})
endif()
if(GRUA_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(GRUA_UNPROTECTED)
  add_compile_definitions(GRUA_UNPROTECTED)
endif()
if(GRUA_CRASH_POINTS)
  add_compile_definitions(GRUA_CRASH_POINTS)
endif()
# Boost.Asio without its own thread-safety where one loop owns all; Boost.JSON is linked, not header-only.
add_compile_definitions(GRUA_VERSION="${PROJECT_VERSION}" _GNU_SOURCE BOOST_ASIO_NO_DEPRECATED BOOST_ASIO_DISABLE_VISIBILITY)

if(NOT GRUA_COROUTINES_CHECKED)
  message(STATUS "Checking that the compiler is right on coroutines")
  try_run(shapes_exit shapes_built ${CMAKE_BINARY_DIR}/coroutine_shapes ${CMAKE_SOURCE_DIR}/cmake/coroutine_shapes.cpp
          CMAKE_FLAGS -DINCLUDE_DIRECTORIES=${CMAKE_SOURCE_DIR}/src
          COMPILE_DEFINITIONS -fsanitize=address -O1
          LINK_OPTIONS -fsanitize=address
          LINK_LIBRARIES pthread
          CXX_STANDARD 23
          COMPILE_OUTPUT_VARIABLE shapes_log RUN_OUTPUT_VARIABLE shapes_output)
  if(NOT shapes_built)
    message(FATAL_ERROR "cmake/coroutine_shapes.cpp does not compile:\n${shapes_log}")
  endif()
  if(NOT shapes_exit EQUAL 0)
    message(FATAL_ERROR "this compiler destroys coroutine objects wrongly:\n${shapes_output}")
  endif()
  set(GRUA_COROUTINES_CHECKED ON CACHE INTERNAL "")
endif()

# A static program registers its exception tables at its start, which makes the first throw sort all of them (0.7 ms, in each process that
# throws). Not registered, they are found by the index that the linker has made, as in any other program.
function(grua_link_static target)
  target_sources(${target} PRIVATE ${CMAKE_SOURCE_DIR}/apps/unregistered_frames.cpp)
  target_link_options(${target} PRIVATE -static -Wl,--wrap=__register_frame_info,--wrap=__deregister_frame_info)
endfunction()
