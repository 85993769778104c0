# Every dependency is a package of Debian 12; scripts/install_deps.sh names them.
find_package(TBB REQUIRED)                        # worker threads
find_package(fmt REQUIRED)                        # text
find_package(spdlog REQUIRED)                     # log lines
find_package(nlohmann_json REQUIRED)              # configuration, metrics, results
find_package(ZLIB REQUIRED)                       # gzipped data sets
find_package(Boost 1.74 REQUIRED)                 # statistics: Boost.Math, headers alone
find_package(CLI11 REQUIRED)                      # flags
find_package(PkgConfig REQUIRED)
pkg_check_modules(HWY REQUIRED IMPORTED_TARGET libhwy)    # portable SIMD with run-time dispatch
pkg_check_modules(LIBZIP REQUIRED IMPORTED_TARGET libzip) # NPZ archives
find_path(MUSTACHE_INCLUDE_DIR kainjow/mustache.hpp REQUIRED) # pages
find_path(STB_INCLUDE_DIR stb/stb_image.h REQUIRED)       # PNG and JPEG

if(CALTROP_TESTS)
  find_package(doctest REQUIRED)
endif()

find_program(GNUPLOT_PROGRAM gnuplot)
if(NOT GNUPLOT_PROGRAM)
  message(STATUS "Caltrop: gnuplot not found; figures will be left as scripts and data")
endif()
