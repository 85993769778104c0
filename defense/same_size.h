// One network as large as several together: what a vote has to be compared with.
#pragma once

#include <cstdint>

#include "engine/architecture.h"

namespace caltrop {

// `network` with its hidden dense layers widened evenly until it has as many parameters as `parameters`, or the
// nearest number that it can have. Convolutions stay as they are: a network of the paper holds most of its
// parameters in dense layers, and time grows with convolutions. An Error where it has no hidden dense layer or is
// larger already.
Architecture with_parameters(const Architecture& network, ImageShape input, int64_t parameters);

}  // namespace caltrop
