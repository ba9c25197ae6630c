# A room is a folder in src/, a target grua_<room> and a namespace. It links only to rooms before it in
# docs/architecture.md's list, so a wrong dependency does not build.
find_package(Threads REQUIRED)
find_package(GTest REQUIRED)
find_package(PkgConfig REQUIRED)
include(${CMAKE_CURRENT_LIST_DIR}/precompiled.cmake)

set(GRUA_ROOMS base linux tls oci runtime monitor tasks store grpc content layers registry images volumes network engine build cluster api
               client compose cli cri)

# What a room includes is checked when this is configured, and again before a room is built of which a file has changed.
include(${CMAKE_CURRENT_LIST_DIR}/includes.cmake)
set(GRUA_INCLUDES ${CMAKE_CURRENT_LIST_DIR}/includes.cmake)

# grua_room(NAME SOURCES a.cpp b.cpp [USES room...] [HEADERS room...] [LIBRARIES lib...])
# HEADERS: rooms of which only headers are included, because a library of LIBRARIES has what is behind them.
# Every *_test.cpp of the folder and its wings becomes part of the room's test program, <room>_test.
function(grua_room name)
  cmake_parse_arguments(ARG "" "" "SOURCES;USES;HEADERS;LIBRARIES" ${ARGN})
  list(FIND GRUA_ROOMS ${name} rank)
  add_library(grua_${name} STATIC ${ARG_SOURCES})
  target_include_directories(grua_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  grua_use_precompiled(grua_${name})
  foreach(used ${ARG_USES})
    list(FIND GRUA_ROOMS ${used} used_rank)
    if(used_rank GREATER_EQUAL rank)
      message(FATAL_ERROR "room ${name} may not use ${used}: it stands below it in docs/architecture.md")
    endif()
    target_link_libraries(grua_${name} PUBLIC grua_${used})
  endforeach()
  target_link_libraries(grua_${name} PUBLIC ${ARG_LIBRARIES})

  set(seen ${ARG_USES} ${ARG_HEADERS})
  file(GLOB_RECURSE files CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp ${CMAKE_CURRENT_SOURCE_DIR}/*.hpp)
  grua_check_includes(${name} "${GRUA_ROOMS}" "${seen}" "${files}")
  set(stamp ${CMAKE_CURRENT_BINARY_DIR}/includes.stamp)
  add_custom_command(OUTPUT ${stamp}
    COMMAND ${CMAKE_COMMAND} "-DNAME=${name}" "-DROOMS=${GRUA_ROOMS}" "-DSEEN=${seen}" "-DFILES=${files}" -P ${GRUA_INCLUDES}
    COMMAND ${CMAKE_COMMAND} -E touch ${stamp}
    DEPENDS ${files} ${GRUA_INCLUDES} VERBATIM)
  add_custom_target(${name}_includes DEPENDS ${stamp})
  add_dependencies(grua_${name} ${name}_includes)

  file(GLOB_RECURSE tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_test.cpp)
  if(tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE grua_${name} GTest::gmock GTest::gtest_main)
    grua_use_precompiled(${name}_test tests)
    add_test(NAME ${name} COMMAND ${name}_test)
    set_tests_properties(${name} PROPERTIES TIMEOUT 120)
  endif()
endfunction()
