// Principal axes: the eigenvectors of a covariance, by one-sided Jacobi rotations (Hestenes 1958): rows are turned in
// pairs, always in the same order, until each is orthogonal to all others; their lengths are the eigenvalues then. In double, and
// the same bits on every machine, which LAPACK's are not: those depend on the library that stands behind its name.
// It takes about 10 sweeps of 3 K^3 multiply-adds: 3 seconds for 512 channels on one core.
#pragma once

#include <cstdint>
#include <vector>

namespace caltrop {

struct PrincipalAxes {
  std::vector<double> variances;  // falling; those of at least `least` times the first
  std::vector<double> axes;       // a row of each, of length 1
};
// `covariance` (size, size), symmetric and without negative eigenvalues.
PrincipalAxes principal_axes(std::vector<double> covariance, int64_t size, double least);

}  // namespace caltrop
