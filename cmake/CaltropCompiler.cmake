# Flags that every room shares: warnings are errors, floating point is exactly what the source says.
# A compiler that nobody has tried here may warn of more than ours do: then this lets the build go on.
option(CALTROP_WARNINGS_AS_ERRORS "Stop the build at a warning" ON)
set(caltrop_werror)
set(caltrop_cuda_werror)
if(CALTROP_WARNINGS_AS_ERRORS)
  set(caltrop_werror -Werror)
  set(caltrop_cuda_werror -Werror=all-warnings -Xcompiler=-Werror)
endif()
add_library(caltrop_flags INTERFACE)
target_include_directories(caltrop_flags INTERFACE "${PROJECT_SOURCE_DIR}")
# nvcc has its own (CaltropCuda.cmake).
function(caltrop_host_options)
  foreach(option IN LISTS ARGN)
    target_compile_options(caltrop_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:${option}>)
  endforeach()
endfunction()
caltrop_host_options(
  -Wall -Wextra -Wpedantic ${caltrop_werror}
  # A multiply and an add become one FMA only where a kernel asks for it, so that one source gives one result.
  -ffp-contract=off)

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 sees an overlap in std::string's operator+ where there is none (GCC bug 105651).
  caltrop_host_options(-Wno-restrict)
endif()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  # The baseline of the binary; the hot kernels hold AVX2 and AVX-512 bodies beside it, chosen at run time.
  caltrop_host_options(-march=x86-64-v2)
endif()

if(CALTROP_SANITIZE AND CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  caltrop_host_options(-Wno-pass-failed)  # loops that -O1 does not unroll
endif()
if(CALTROP_SANITIZE)
  caltrop_host_options(
    -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
    -O1 -g1)  # the kernels' templates take minutes at -O3 under the sanitizers
  target_link_options(caltrop_flags INTERFACE -fsanitize=address,undefined)
endif()
if(CALTROP_FUZZ)
  caltrop_host_options(-fsanitize=fuzzer-no-link)
endif()

# Of a source's four seconds three go to headers, and to templates that others instantiate too. So a library's
# sources are compiled eight at a time, and what nearly all of them include is parsed once. OFF shows whether each
# source includes what it needs.
option(CALTROP_UNITY "Compile the sources of a library eight at a time" ON)
function(caltrop_unite target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${CALTROP_UNITY} UNITY_BUILD_BATCH_SIZE 8)
endfunction()
function(caltrop_precompile target)
  target_precompile_headers(${target} PRIVATE <algorithm> <array> <cmath> <cstdint> <fmt/format.h> <functional> <map>
    <memory> <optional> <span> <string> <string_view> <vector> ${ARGN})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Through them g++ 12 sees std::string copy half the address space.
    target_compile_options(${target} PRIVATE -Wno-array-bounds -Wno-stringop-overflow -Wno-stringop-overread)
  endif()
endfunction()

# Where compiling takes longer than what runs.
function(caltrop_compile_lightly target)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1>)
endfunction()
