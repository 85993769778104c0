# Writes OUTPUT, a source with the version and the git commit of SOURCE_DIR; run at each build, it touches the
# file only when something changed.
set(commit unknown)
find_program(GIT git)
if(GIT)
  execute_process(COMMAND ${GIT} describe --always --abbrev=12 --exclude=* --dirty=+
    WORKING_DIRECTORY ${SOURCE_DIR} OUTPUT_VARIABLE described OUTPUT_STRIP_TRAILING_WHITESPACE
    ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed)
    set(commit ${described})
  endif()
endif()
set(content "#include \"apps/core/build_info.h\"

namespace caltrop {

std::string version() { return \"${VERSION}\"; }
std::string commit() { return \"${commit}\"; }
std::string compiler() { return \"${COMPILER}\"; }

}  // namespace caltrop
")
if(EXISTS ${OUTPUT})
  file(READ ${OUTPUT} before)
endif()
if(NOT content STREQUAL "${before}")
  file(WRITE ${OUTPUT} "${content}")
endif()
