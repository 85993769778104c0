// make_mutants LIST FILE.cu OUTPUT.cu: writes the kernel file with all its mutants. A mutant that no longer
// fits the source is left out here, and fails the test that reads the same list.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "kernels/error.h"
#include "tests/emulation/mutant_list.h"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  try {
    const std::filesystem::path file = argv[2];
    std::vector<std::string> stale;
    const std::string source = caltrop::test::with_mutants(caltrop::test::read_text(file), file.filename(),
                                                           caltrop::test::read_mutants(argv[1]), stale);
    std::ofstream stream(argv[3], std::ios::binary);
    stream << "extern \"C\" bool caltrop_is_mutant(int number);\n#line 1 \"" << file.string() << "\"\n"
           << source;
    return stream.flush() ? 0 : 1;
  } catch (const caltrop::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
