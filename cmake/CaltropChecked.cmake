# Whether the kernels can be built with the emulation's access checker: it needs libbacktrace (part of gcc; on
# other systems the package libbacktrace-dev) for lines of the source, and x86-64 or Arm Linux for its hooks.
set(CALTROP_CHECKED OFF)
execute_process(COMMAND ${CMAKE_CXX_COMPILER} -print-file-name=libbacktrace.a
  OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
cmake_path(GET found PARENT_PATH folder)
find_library(BACKTRACE_LIBRARY NAMES libbacktrace.a backtrace HINTS "${folder}")
find_file(BACKTRACE_HEADER NAMES backtrace.h HINTS "${folder}/include")
if(CALTROP_SANITIZE OR CALTROP_FUZZ)
  message(STATUS "Caltrop: the access checker is left out: its instrumentation excludes other sanitizers")
elseif(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux" OR NOT BACKTRACE_LIBRARY OR NOT BACKTRACE_HEADER)
  message(STATUS "Caltrop: libbacktrace not found; the access checker and 'caltrop emulate' are left out")
else()
  set(CALTROP_CHECKED ON)
endif()
