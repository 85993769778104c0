// Weights between Caltrop's layout and PyTorch's.
//
// Caltrop: conv weights (kh,kw,cin,cout), images (h,w,c), so flatten gives features in the order h,w,c.
// PyTorch: conv weights (cout,cin,kh,kw), images (c,h,w), so flatten gives c,h,w. The columns of the first
// dense layer after flatten (and a batch norm between the two) are therefore permuted; everything else is
// equal. Residual blocks change neither names nor tensors: exported weights load into a torch.nn.ModuleList
// of the line's layers, and weights named by another rule are matched kind by kind in natural order, which
// fits only where the module names sort as the line runs. A flatten inside a residual block, or one between
// flatten and the next dense layer, would mix two orders of features and is refused.
#pragma once

#include "engine/architecture.h"
#include "engine/safetensors.h"

namespace caltrop {

// From a PyTorch state_dict to "<layer>.weight", ... in Caltrop's layout, in the order of the layers.
//
// Where the names are those of a torch.nn.Sequential of the line, they say what is what. Otherwise tensors
// are grouped by module (the text before the last dot), modules of one kind (convolution, dense, batch norm, denoising)
// are sorted by natural order (conv2 before conv10) and given to the layers of that kind in turn; every shape
// must fit, and when it does not the error lists both sides. The file's own order means nothing: torch writes
// tensors sorted by name. num_batches_tracked is ignored; a convolution or dense module without bias gets a
// bias of zeros.
SafeTensorFile from_torch_layout(const SafeTensorFile& file, const Architecture& architecture,
                                 ImageShape input);

// The inverse, with the names of a torch.nn.Sequential of the line.
SafeTensorFile to_torch_layout(const SafeTensorFile& file, const Architecture& architecture,
                               ImageShape input);

}  // namespace caltrop
