cmake_policy(VERSION 3.25)

# A file of a room includes headers of that room and of the rooms that it uses, and no others': what comes in through another header
# is that room's business. Tests keep to it as well.
function(grua_check_includes name rooms seen files)
  foreach(file ${files})
    file(STRINGS ${file} includes REGEX "^#include \"[a-z_]+/")
    foreach(line ${includes})
      string(REGEX REPLACE "^#include \"([a-z_]+)/.*" "\\1" used "${line}")
      if(used IN_LIST rooms AND NOT used STREQUAL name AND NOT used IN_LIST seen)
        message(FATAL_ERROR "${file} includes a header of ${used}; the room ${name} uses ${seen}")
      endif()
    endforeach()
  endforeach()
endfunction()

# cmake -DNAME=… -DROOMS=… -DSEEN=… -DFILES=… -P includes.cmake
if(CMAKE_SCRIPT_MODE_FILE AND DEFINED FILES)
  grua_check_includes("${NAME}" "${ROOMS}" "${SEEN}" "${FILES}")
endif()
