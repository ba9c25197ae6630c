# A room is a folder in src/, a target grua_<room> and a namespace. It links only to rooms before it in
# docs/architecture.md's list, so a wrong dependency does not build.
find_package(Threads REQUIRED)
find_package(GTest REQUIRED)
find_package(PkgConfig REQUIRED)

set(GRUA_ROOMS base linux oci runtime monitor tasks store content layers registry images volumes network engine build cluster api
               client compose cli cri)

# grua_room(NAME SOURCES a.cpp b.cpp [USES room...] [LIBRARIES lib...])
# Every *_test.cpp of the folder and its wings becomes part of the room's test program, <room>_test.
function(grua_room name)
  cmake_parse_arguments(ARG "" "" "SOURCES;USES;LIBRARIES" ${ARGN})
  list(FIND GRUA_ROOMS ${name} rank)
  add_library(grua_${name} STATIC ${ARG_SOURCES})
  target_include_directories(grua_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  foreach(used ${ARG_USES})
    list(FIND GRUA_ROOMS ${used} used_rank)
    if(used_rank GREATER_EQUAL rank)
      message(FATAL_ERROR "room ${name} may not use ${used}: it stands below it in docs/architecture.md")
    endif()
    target_link_libraries(grua_${name} PUBLIC grua_${used})
  endforeach()
  target_link_libraries(grua_${name} PUBLIC ${ARG_LIBRARIES})

  file(GLOB_RECURSE tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_test.cpp)
  if(tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE grua_${name} GTest::gmock GTest::gtest_main)
    add_test(NAME ${name} COMMAND ${name}_test)
    set_tests_properties(${name} PROPERTIES TIMEOUT 120)
  endif()
endfunction()
