// What this program was built from.
#pragma once

#include <string>

namespace caltrop {

std::string version();   // "0.1.0"
std::string commit();    // abbreviated git commit, "+" behind it for a changed tree; "unknown" outside of git
std::string compiler();  // "GCC 12.2.0"

}  // namespace caltrop
