// The sub-commands: each declares its flags and returns what to do once they are read.
#pragma once

#include <functional>
#include <memory>

#include "apps/core/flags.h"

namespace caltrop {

using Run = std::function<void()>;

// A command of options that declare(flags, options) fills, and run(options, flags) then reads.
template <typename Options>
Run make_command(Flags& flags, void (*declare)(Flags& flags, Options& options),
                 void (*run)(Options& options, const Flags& flags)) {
  auto options = std::make_shared<Options>();
  declare(flags, *options);
  return [options, run, &flags] {
    run(*options, flags);
  };
}

Run info_command(Flags& flags);
Run train_command(Flags& flags);
Run eval_command(Flags& flags);
Run attack_command(Flags& flags);
Run verify_command(Flags& flags);
Run sweep_command(Flags& flags);
Run study_command(Flags& flags);
Run transfer_command(Flags& flags);
Run gma_generate_command(Flags& flags);
Run gma_analyze_command(Flags& flags);
Run gma_poison_command(Flags& flags);
Run gma_visual_command(Flags& flags);
Run paper_gma_mia_command(Flags& flags);
Run paper_kim_command(Flags& flags);
struct DefenceInfo;
Run defend_command(Flags& flags, const DefenceInfo& info);  // a row of defences()
Run demo_command(Flags& flags);
Run export_command(Flags& flags);
Run bench_command(Flags& flags);
Run bench_cpu_command(Flags& flags);
Run bench_cuda_command(Flags& flags);
Run bench_ensemble_command(Flags& flags);
Run bench_layers_command(Flags& flags);
Run bench_kernels_command(Flags& flags);
Run emulate_command(Flags& flags);

}  // namespace caltrop
