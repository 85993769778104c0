# Flags that every room shares: warnings are errors, floating point is exactly what the source says.
add_library(caltrop_flags INTERFACE)
target_include_directories(caltrop_flags INTERFACE "${PROJECT_SOURCE_DIR}")
target_compile_options(caltrop_flags INTERFACE
  -Wall -Wextra -Wpedantic -Werror
  # A multiply and an add become one FMA only where a kernel asks for it, so that one source gives one result.
  -ffp-contract=off)

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 sees an overlap in std::string's operator+ where there is none (GCC bug 105651).
  target_compile_options(caltrop_flags INTERFACE -Wno-restrict)
endif()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  # The baseline of the binary; the hot kernels hold AVX2 and AVX-512 bodies beside it, chosen at run time.
  target_compile_options(caltrop_flags INTERFACE -march=x86-64-v2)
endif()

if(CALTROP_SANITIZE)
  target_compile_options(caltrop_flags INTERFACE
    -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
    -O1 -g1)  # the kernels' templates take minutes at -O3 under the sanitizers
  target_link_options(caltrop_flags INTERFACE -fsanitize=address,undefined)
endif()
if(CALTROP_FUZZ)
  target_compile_options(caltrop_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
