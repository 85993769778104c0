#include "defense/training/craft_flags.h"

#include "attacks/attack.h"
#include "engine/error.h"

namespace caltrop {
namespace {

constexpr int64_t kPgdSteps = 40;  // Madry et al. 2018

}  // namespace

DefenceOption craft_eps_option(double& eps) {
  return {.name = "eps",
          .value = &eps,
          .what = "L-inf size of the attacks in training",
          .value_name = "E",
          .low = 0,
          .high = 1,
          .open_low = true};
}

DefenceOption craft_step_size_option(std::optional<double>& step_size, const std::string& of,
                                     const std::string& otherwise) {
  return {.name = "step-size",
          .value = &step_size,
          .what = of,
          .value_name = "A",
          .otherwise = otherwise,
          .low = 0,
          .high = 2,
          .open_low = true};
}

std::vector<DefenceOption> CraftFlags::options() {
  std::vector<DefenceOption> all = {craft_eps_option(eps)};
  if (choice) {
    all.push_back(
        {.name = "attack", .value = &attack, .what = "one step of FGSM, or PGD", .choices = {"fgsm", "pgd"}});
    all.push_back(
        {.name = "start",
         .value = &start,
         .what = "where attacks begin: at the image or at random around it [image for fgsm, random for pgd]",
         .choices = {"image", "random"}});
  }
  all.push_back({.name = "steps",
                 .value = &steps,
                 .what = "of PGD",
                 .value_name = "N",
                 .otherwise = fmt::format("{}", kPgdSteps),
                 .low = 1,
                 .high = 100000});
  all.push_back(craft_step_size_option(
      step_size, "of each step",
      choice ? "as 'caltrop attack': eps of FGSM; of PGD eps / 4, but 4 eps / steps from 17 on"
             : "as 'caltrop attack pgd': eps / 4, but 4 eps / steps from 17 on"));
  all.push_back({.name = "craft-mode",
                 .value = &mode,
                 .what =
                     "batch norm while attacks are made: by running moments, or by those of the mini-batch, "
                     "which then move the running ones",
                 .choices = {"eval", "train"}});
  return all;
}

void CraftFlags::resolve() {
  if (attack == "fgsm" && steps.value_or(1) != 1) fail("--steps belongs to --attack pgd: FGSM is one step");
  if (start.empty()) start = attack == "pgd" ? "random" : "image";
}

CraftOptions CraftFlags::craft() const {
  CraftOptions craft{.eps = static_cast<float>(eps),
                     .steps = attack == "pgd" ? steps.value_or(kPgdSteps) : 1};
  AttackOptions rule = attack_defaults(parse_attack(attack));
  rule.steps = craft.steps;
  craft.step_size = step_size ? static_cast<float>(*step_size) : step_size_of(rule, craft.eps);
  craft.start = start == "random" ? CraftStart::uniform : CraftStart::image;
  craft.training_mode = mode == "train";
  return craft;
}

}  // namespace caltrop
