// Every CUDA name that kernels may use, for the host compiler: declared inside caltrop::emu, so that nothing
// clashes with CUDA's own headers where a program holds both worlds.
#pragma once

#include "kernels/emulation/atomics.h"
#include "kernels/emulation/builtins.h"
#include "kernels/emulation/execution.h"
#include "kernels/emulation/launch.h"
#include "kernels/emulation/math.h"
#include "kernels/emulation/warp.h"
