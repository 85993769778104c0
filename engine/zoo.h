// Networks by name: the papers' models as lines of engine/architecture.h.
//
// "GMA/MIA 2025", Table 1 (all `he_uniform`, valid padding, exact GELU; softmax is left to the loss):
//   target   conv 32 - pool - dense 100, ReLU
//   eat-1    the same with GELU
//   eat-2    conv 32 - pool - pool - 3 x dense 100
//   eat-3    conv 64 - pool - conv 32 - pool - 3 x dense 100
// The table's pool "2x2, 1" may mean stride 1 or one layer. Stride 2 is the default here, since a 2x2 pool
// with stride 2 is what practitioners mean by "2x2"; `pool_stride` 1 gives the other reading. EAT-2 names two
// pools after one convolution, so they follow each other; EAT-3's filters are taken in the order printed, 64
// then 32.
//
// "Kim 2025" gives 2 (abstract), 3 (methods) or 5 (results) convolutions, a dense layer of 256, pooling, and
// batch norm (methods) or dropout (abstract): kim-2 .. kim-5, each plain, "-bn" or "-dropout". The abstract's
// network is kim-2-dropout, the methods' kim-3-bn. Where the paper is silent: 3x3 kernels with padding
// "same", so that depth does not run out of pixels; 32, 64, 128, 128, 128 filters; a 2x2 pool after each of
// the first three convolutions (28 -> 14 -> 7 -> 3; a fourth would leave one pixel); order conv, batch norm,
// ReLU, pool, dropout (Ioffe & Szegedy 2015); dropout 0.25 after pools and 0.5 after the dense layer, the
// values of the Keras MNIST example; and Keras' default initialiser, glorot_uniform, as the paper stores .h5
// files.
//
// "GMA/MIA 2025" also attacks VGG7, VGG16, ResNet32 and ResNet50, without saying how they take 28x28 pixels.
// Here (`he_uniform`, batch norm after each convolution, whose biases are kept; trainable values for one
// channel and 10 outputs):
//   vgg7      9.3 M   Li et al. 2016 (VGG-7 of CIFAR-10): 2 x 128, 2 x 256, 2 x 512 filters, a pool after
//                     each pair (28 -> 14 -> 7 -> 3), dense 1024
//   vgg16    15.2 M   Simonyan & Zisserman 2015, configuration D: 28x28 has room for three pools of 2, so the
//                     fourth stage has none and the fifth ends in one of 3 (3 -> 1); dense 512, 512 for their
//                     4096, 4096, as usual for small images
//   resnet32  0.47 M  He et al. 2016, section 4.2, n = 5: 16, 32, 64 filters at 28, 14, 7 pixels, then the
//                     mean over all. Where a stage begins the shortcut is a 1x1 convolution (their option
//                     B), not zero padding (A, 0.46 M): one kind of shortcut in the language
//   resnet50 23.5 M   He et al. 2016, Table 1, bottlenecks 3, 4, 6, 3; for the 7x7 stride 2 stem and pool of
//                     ImageNet one 3x3 convolution (28, 14, 7, 4 pixels). Stride in the 3x3 convolution of a
//                     block, as torchvision has it
//
// What robust training on MNIST is compared on:
//   wong     0.17 M   Wong, Rice & Kolter 2020 (fast adversarial training); `torch`, as in their code
//   madry    3.27 M   Madry et al. 2018, also ALP's; `he_uniform` for their truncated normal of 0.1 and biases of 0.1
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/architecture.h"

namespace caltrop {

struct ZooEntry {
  std::string name;
  std::string line;         // canonical, for parse_architecture
  std::string initializer;  // "he_uniform" or "glorot_uniform"
  std::string description;  // what it is and where from, one line
};

struct ZooOptions {
  int64_t pool_stride = 2;  // 1 or 2, of target and eat-*
};

// The entry with `outputs` logits; an Error with the known names for an unknown one.
ZooEntry zoo(std::string_view name, int64_t outputs, const ZooOptions& options = {});
std::string zoo_line(std::string_view name, int64_t outputs, const ZooOptions& options = {});
std::vector<std::string> zoo_names();
// The rule that the network of this line begins with, where it is one of the zoo; he_uniform for any other.
std::string zoo_initializer(const Architecture& line);

}  // namespace caltrop
