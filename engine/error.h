// The engine's face of the project's exception, so that rooms above need not know kernels/.
#pragma once

#include "kernels/error.h"
