// The suite is worth its green only if it rejects kernels that are wrong: each mutant must fail the check of
// the method that it changes, and each method of the contract must have one. Mutants touch memory from the
// host, so each is the CPU's body with one method changed.
#include <doctest/doctest.h>

#include <memory>
#include <set>

#include "tests/kernels/mutants_of_models.h"
#include "tests/kernels/mutants_of_ops.h"

namespace caltrop::test {
namespace {

using namespace mutants;

struct Mutant {
  const char* method;
  const char* name;
  std::unique_ptr<Backend> (*make)();
};

template <typename T>
std::unique_ptr<Backend> make() {
  return std::make_unique<T>();
}

#define MUTANT(method, type)     \
  Mutant {                       \
#method, #type, make < type> \
  }

const Mutant kMutants[] = {
    MUTANT(allocate, MisalignedBlocks),
    MUTANT(deallocate, SharesSmallBlocks),
    MUTANT(upload, LosesLastByteUp),
    MUTANT(download, LosesLastByteDown),
    MUTANT(copy, CopiesTheWrongWay),
    MUTANT(for_each, SkipsTheLastBody),
    MUTANT(for_each, SwallowsExceptions),
    MUTANT(capture, RunsWhatItCaptures),
    MUTANT(capture, ReplaysOnce),
    MUTANT(chunk, NoImageFits),
    MUTANT(fill, FillsOneTooMany),
    MUTANT(unary, ForgetsTheTail),
    MUTANT(unary, ReluEatsNan),
    MUTANT(unary, GeluByTanh),
    MUTANT(unary, StepIsOneAtZero),
    MUTANT(binary, IgnoresBroadcast),
    MUTANT(binary, MaximumTakesTheSecond),
    MUTANT(binary, GateIsOpenAtZero),
    MUTANT(where, WhereIsASum),
    MUTANT(where, WhereTakesNanForNo),
    MUTANT(sum, SumForgetsAnAxis),
    MUTANT(permute, InvertsThePermutation),
    MUTANT(matmul, IgnoresTransposeB),
    MUTANT(matmul, DropsTheLastTerm),
    MUTANT(matmul, ReducedPrecision),
    MUTANT(batch_matmul, BatchRepeatsTheFirst),
    MUTANT(conv2d, ReducedPrecision),
    MUTANT(conv2d, ForgetsPadding),
    MUTANT(conv2d, ConvAddsTheFirstImage),
    MUTANT(conv2d, ConvActivatesBeforeItAdds),
    MUTANT(conv2d_dinput, DinputTurnsARow),
    MUTANT(conv2d_dinput, DinputLosesAnImage),
    MUTANT(conv2d_dweight, DweightLosesAChunk),
    MUTANT(conv2d_dweight, DweightIsAMean),
    MUTANT(maxpool, LastMaximumWins),
    MUTANT(maxpool, MaxpoolDropsNan),
    MUTANT(rankpool, RankFromAbove),
    MUTANT(rankpool, RankDropsNan),
    MUTANT(maxpool_scatter, ScatterOverwrites),
    MUTANT(maxpool_gather, GatherReadsTheFirst),
    MUTANT(avgpool, AverageOfTheWrongCount),
    MUTANT(avgpool_adjoint, AdjointScaledBy03),
    MUTANT(conv_block, BlockForgetsBias),
    MUTANT(conv_block, BlockForgetsThatDeadIsDead),
    MUTANT(conv_block, BlockGivesTheSlopeOfTheOutput),
    MUTANT(conv_block, BlockTakesGeluForMonotone),
    MUTANT(conv_blocks, BlocksTakeTheFirstBias),
    MUTANT(conv_block_dinput, BlockGradientTransposesTheWindow),
    MUTANT(conv_block_dweight, BlockWeightGradientIgnoresSlope),
    MUTANT(conv_block_dweight, BlockBiasGradientCountsTheDead),
    MUTANT(batch_norm, VarianceIsUnbiased),
    MUTANT(batch_norm, VarianceOfSquares),
    MUTANT(batch_norm, NormForgetsTheLastRow),
    MUTANT(batch_norm, NormDropsNan),
    MUTANT(batch_norm, NormActivatesBeforeItAdds),
    MUTANT(batch_norm, NormForgetsRelu),
    MUTANT(batch_norm_backward, MomentsAreConstants),
    MUTANT(batch_norm_backward, GradientPassesRelu),
    MUTANT(batch_norm_backward, ResidualGetsAllOfTheGradient),
    MUTANT(batch_norm_backward, WeightGradientOfRawInputs),
    MUTANT(batch_norm_backward, BackwardWritesNoBiasAlone),
    MUTANT(softmax, SoftmaxWithoutMaximum),
    MUTANT(softmax, SoftmaxDropsNan),
    MUTANT(log_softmax, LogOfSoftmax),
    MUTANT(cross_entropy, LossOfTheFirstClass),
    MUTANT(cross_entropy_backward, BackwardAlwaysAsTorch),
    MUTANT(argmax, ArgmaxTakesTheLast),
    MUTANT(argmax, ArgmaxPassesOverNan),
    MUTANT(vote, TiesGoToTheFirstNetwork),
    MUTANT(vote, SoftmaxDecidesAlone),
    MUTANT(one_hot, OneHotForgetsZeros),
    MUTANT(random, RowsShareAStream),
    MUTANT(random, UniformReachesOne),
    MUTANT(gather_images, DividesBy256),
    MUTANT(attack_step, ProjectsAfterTheBox),
    MUTANT(attack_step, FloorsTheGradientNorm),
    MUTANT(attack_step, MovesWithoutGradient),
    MUTANT(attack_step, IgnoresDirection),
    MUTANT(attack_step, UsesTheFirstRowsBudget),
    MUTANT(row_stats, NormsInFloat),
    MUTANT(row_stats, CountsNoNan),
    MUTANT(sgd, SgdWithoutNesterov),
    MUTANT(adam, AdamWithoutCorrection),
    MUTANT(rmsprop, RmsPropForgetsDecay),
    MUTANT(adagrad, AdagradSkipsTheLastParameter),
};

TEST_SUITE("kernels") {
  TEST_CASE("mutants are rejected") {
    std::set<std::string> methods;
    for (const Mutant& mutant : kMutants) {
      const std::unique_ptr<Backend> wrong = mutant.make();
      const Report report = run_check(mutant.method, *wrong);
      CHECK_MESSAGE(!report.passed(), "the check of ", mutant.method, " accepts ", mutant.name);
      methods.insert(mutant.method);
    }
    for (const Check& check : all_checks()) {
      CHECK_MESSAGE(methods.count(check.method), "no mutant of ", check.method);
    }
  }

  TEST_CASE("a report fails on NaN, on wrong sizes and on nothing") {
    const std::vector<float> nan = {std::nanf("")}, inf = {HUGE_VALF}, one = {1.0f};
    const auto accepts = [](const std::vector<float>& actual, const Values& expected) {
      Report report;
      report.compare("value", actual, expected, 1e30);
      return report.passed();
    };
    CHECK(accepts(one, {1.5}));
    CHECK(accepts(inf, {HUGE_VAL}));
    CHECK(!accepts(nan, {1.0}));
    CHECK(!accepts(one, {std::nan("")}));
    CHECK(!accepts(inf, {1.0}));
    CHECK(!accepts(one, {-HUGE_VAL}));
    CHECK(!accepts(one, {1.0, 1.0}));
    CHECK(!Report().passed());
    // A tolerance that is NaN accepts nothing.
    Report report;
    report.compare("value", one, {2.0}, std::nan(""));
    CHECK(!report.passed());
  }

  TEST_CASE("guard bands notice a write beside an output") {
    for (const int64_t where : {-1, 8}) {
      Report report;
      const Output<float> y(cpu_backend(), 8);
      y.data()[where] = 0.0f;
      y.take(report, "y");
      CHECK(!report.passed());
    }
  }
}

}  // namespace
}  // namespace caltrop::test
