// What the current GPU says of itself. Under nvcc only.
#pragma once

#include "kernels/ladder/lab.h"

namespace caltrop::gpu::ladder {

LabDevice lab_device();

}  // namespace caltrop::gpu::ladder
