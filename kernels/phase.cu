// Phases as NVTX ranges.
#include "kernels/phase.h"

#ifdef CALTROP_NVTX
#include <nvtx3/nvToolsExt.h>
#endif

namespace caltrop {

Phase::Phase([[maybe_unused]] const char* name) {
#ifdef CALTROP_NVTX
  nvtxRangePushA(name);
#endif
}
Phase::~Phase() {
#ifdef CALTROP_NVTX
  nvtxRangePop();
#endif
}

}  // namespace caltrop
