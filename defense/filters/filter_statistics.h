// Convolutional filter statistics (Li & Li 2017): a detector beside a network that stays as it is (cascade.h). Clean training
// images are divided at random: one part trains the SVMs together with a pool of attacked images, the rest sets the thresholds.
//
// Its memory is that of the statistics while it is trained: 4 bytes for each of at most 6 numbers a filter, of each clean and attacked
// image that SVMs are trained on (Target, 60,000 images: 46 MB; ResNet32: 1.7 GB).
//
// In the folder: cascade.safetensors, the trained cascade; a run that was stopped before it begins again.
#pragma once

#include "defense/defence.h"

namespace caltrop {

DefenceInfo filter_statistics_info();

}  // namespace caltrop
