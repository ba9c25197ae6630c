# What nearly every file parses first, parsed once: the standard library, {fmt}, Asio, JSON. It halves a build.
#
# It also hides an include that a file has forgotten, so the preset `fuzz` builds without (GRUA_PRECOMPILED=OFF).
option(GRUA_PRECOMPILED "Parse the headers of the libraries once for all files" ON)

set(GRUA_HEADERS
    <algorithm> <array> <atomic> <charconv> <chrono> <condition_variable> <cstdint> <cstring> <deque> <exception> <filesystem> <fstream>
    <functional> <list> <map> <memory> <mutex> <optional> <ranges> <set> <span> <string> <string_view> <system_error> <thread> <tuple>
    <unordered_map> <utility> <variant> <vector> <fmt/format.h>
    <boost/asio/as_tuple.hpp> <boost/asio/awaitable.hpp> <boost/asio/bind_cancellation_slot.hpp> <boost/asio/co_spawn.hpp>
    <boost/asio/detached.hpp> <boost/asio/executor_work_guard.hpp> <boost/asio/experimental/channel.hpp> <boost/asio/io_context.hpp>
    <boost/asio/posix/stream_descriptor.hpp> <boost/asio/post.hpp> <boost/asio/steady_timer.hpp> <boost/asio/this_coro.hpp>
    <boost/asio/thread_pool.hpp> <boost/asio/use_awaitable.hpp> <boost/json.hpp>)
set(GRUA_TEST_HEADERS ${GRUA_HEADERS} <gmock/gmock.h> <gtest/gtest.h>)

# ccache takes the text behind the headers for what was parsed, since that has this build's paths in it.
function(grua_precompile target headers)
  file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/${target}.cpp "")
  add_library(${target} OBJECT ${CMAKE_CURRENT_BINARY_DIR}/${target}.cpp)
  target_link_libraries(${target} PRIVATE Threads::Threads ${ARGN})
  target_precompile_headers(${target} PRIVATE ${headers})
  list(TRANSFORM headers PREPEND "#include " OUTPUT_VARIABLE lines)
  list(JOIN lines "\n" text)
  set(source ${CMAKE_CURRENT_BINARY_DIR}/${target}_text.cpp)
  file(WRITE ${source} "${text}\n")
  execute_process(COMMAND ${CMAKE_CXX_COMPILER} -std=c++2b -E -P ${source} OUTPUT_VARIABLE parsed RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "the headers of cmake/precompiled.cmake cannot be read")
  endif()
  string(SHA256 sum "${parsed}")
  file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/CMakeFiles/${target}.dir/cmake_pch.hxx.pch.sum "${sum}\n")
endfunction()

# grua_use_precompiled(TARGET [tests])
# By a path below the build folder, which is the same in each clone: ccache does not rewrite CMake's own.
function(grua_use_precompiled target)
  if(NOT GRUA_PRECOMPILED)
    return()
  endif()
  set(from grua_headers)
  if("tests" IN_LIST ARGN)
    set(from grua_test_headers)
  endif()
  set(parsed CMakeFiles/${from}.dir/cmake_pch.hxx.pch)
  target_compile_options(${target} PRIVATE "SHELL:-Winvalid-pch -include-pch ${parsed}")
  get_target_property(sources ${target} SOURCES)
  set_source_files_properties(${sources} PROPERTIES OBJECT_DEPENDS ${CMAKE_BINARY_DIR}/${parsed})
endfunction()

if(GRUA_PRECOMPILED)
  add_compile_options(-Xclang -fno-pch-timestamp)
  grua_precompile(grua_headers "${GRUA_HEADERS}")
  grua_precompile(grua_test_headers "${GRUA_TEST_HEADERS}" GTest::gmock)
endif()
