// Softmax, cross-entropy and the other losses on rows of logits.

#include "engine/autograd.h"
#include "engine/error.h"
#include "engine/ops.h"

namespace caltrop {
namespace {

void check_rows(const char* op, const Tensor& z) {
  if (z.rank() != 2 || z.dim(1) < 1)
    fail("[{}] expected rows of logits (n,k), got {}", op, to_string(z.shape()));
}

void check_labels(const char* op, const Tensor& z, const Labels& labels) {
  check_rows(op, z);
  if (labels.count() != z.dim(0)) fail("[{}] expected {} labels, got {}", op, z.dim(0), labels.count());
}

Tensor same_shape(const Tensor& z) {
  return Tensor::uninitialized(z.backend(), z.shape());
}

// (n) -> (n,1), to broadcast over a row.
Tensor column(const Tensor& x) {
  return reshape(x, {x.dim(0), 1});
}

// J g for the softmax Jacobian J = diag(p) - p p^T, which is symmetric.
Tensor softmax_jacobian(const Tensor& p, const Tensor& g) {
  return p * (g - sum(g * p, {1}, true));
}

// The gradient of cross-entropy for each row: p - onehot. Its Jacobian is that of softmax in either style.
Tensor cross_entropy_backward(const Tensor& z, const Labels& labels, CrossEntropyGrad style) {
  Tensor dz = same_shape(z);
  z.backend().cross_entropy_backward(z.dim(0), z.dim(1), z.data(), labels.data(),
                                     style == CrossEntropyGrad::stable, dz.mutable_data());
  return record("cross_entropy_backward", dz, {z}, [z](const Tensor& g, const Needs&) {
    return std::vector<Tensor>{softmax_jacobian(softmax(z), g)};
  });
}

}  // namespace

Tensor softmax(const Tensor& z) {
  check_rows("softmax", z);
  Tensor p = same_shape(z);
  z.backend().softmax(z.dim(0), z.dim(1), z.data(), p.mutable_data());
  return record("softmax", p, {z}, [](const Tensor& g, const Tensor& y, const Needs&) {
    return std::vector<Tensor>{softmax_jacobian(y, g)};
  });
}

Tensor log_softmax(const Tensor& z) {
  check_rows("log_softmax", z);
  Tensor y = same_shape(z);
  z.backend().log_softmax(z.dim(0), z.dim(1), z.data(), y.mutable_data());
  return record("log_softmax", y, {z}, [z](const Tensor& g, const Needs&) {
    return std::vector<Tensor>{g - softmax(z) * sum(g, {1}, true)};
  });
}

Labels argmax(const Tensor& z) {
  check_rows("argmax", z);
  Labels index(z.backend(), z.dim(0));
  z.backend().argmax(z.dim(0), z.dim(1), z.data(), index.data());
  return index;
}

Labels vote(const std::vector<Tensor>& logits) {
  CALTROP_COUNT_OP("vote");
  if (logits.empty() || logits.size() > kMostNetworks)
    fail("[vote] expected the logits of 1 to {} networks, got {}", kMostNetworks, logits.size());
  std::vector<const float*> each;
  for (const Tensor& z : logits) {
    check_rows("vote", z);
    if (z.shape() != logits[0].shape()) {
      fail("[vote] expected logits of one shape, got {} and {}", to_string(logits[0].shape()),
           to_string(z.shape()));
    }
    each.push_back(z.data());
  }
  const Labels answer(logits[0].backend(), logits[0].dim(0));
  logits[0].backend().vote(logits[0].dim(0), logits[0].dim(1), each, answer.data());
  return answer;
}

Tensor one_hot(const Labels& labels, int64_t classes) {
  Tensor y = Tensor::uninitialized(labels.backend(), {labels.count(), classes});
  labels.backend().one_hot(labels.count(), classes, labels.data(), y.mutable_data());
  return y;
}

Tensor pick(const Tensor& z, const Labels& labels) {
  check_labels("pick", z, labels);
  return sum(z * one_hot(labels, z.dim(1)), {1});
}

Tensor row_max(const Tensor& z) {
  return pick(z, argmax(z));
}

Tensor cross_entropy(const Tensor& z, const Labels& labels, CrossEntropyGrad style) {
  check_labels("cross_entropy", z, labels);
  Tensor loss = Tensor::uninitialized(z.backend(), {z.dim(0)});
  z.backend().cross_entropy(z.dim(0), z.dim(1), z.data(), labels.data(), loss.mutable_data());
  return record("cross_entropy", loss, {z}, [z, labels, style](const Tensor& g, const Needs&) {
    return std::vector<Tensor>{cross_entropy_backward(z, labels, style) * column(g)};
  });
}

Tensor soft_cross_entropy(const Tensor& z, const Tensor& targets) {
  check_rows("soft_cross_entropy", z);
  if (targets.shape() != z.shape())
    fail("[soft_cross_entropy] expected targets of shape {}, got {}", to_string(z.shape()),
         to_string(targets.shape()));
  return -sum(targets * log_softmax(z), {1});
}

Tensor kl_divergence(const Tensor& target_logits, const Tensor& z) {
  check_rows("kl_divergence", z);
  if (target_logits.shape() != z.shape())
    fail("[kl_divergence] expected logits of shape {}, got {}", to_string(z.shape()),
         to_string(target_logits.shape()));
  return sum(softmax(target_logits) * (log_softmax(target_logits) - log_softmax(z)), {1});
}

Tensor mean_squared_error(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape() || a.rank() < 1)
    fail("[mean_squared_error] expected equal shapes (n,...), got {} and {}", to_string(a.shape()),
         to_string(b.shape()));
  const int64_t rows = a.dim(0);
  return mean(reshape(square(a - b), {rows, rows == 0 ? 1 : a.size() / rows}), {1});
}

Tensor logit_margin(const Tensor& z, const Labels& labels) {
  check_labels("logit_margin", z, labels);
  if (z.dim(1) < 2) fail("[logit_margin] expected at least two classes, got {}", to_string(z.shape()));
  const Tensor chosen = one_hot(labels, z.dim(1));
  // The label's own logit is replaced by one below all others, not by z * 0, so that negative logits stay
  // right.
  const Tensor lowest = -row_max(-z.detach());
  const Tensor others = z * (1.0f - chosen) + chosen * column(lowest - 1.0f);
  return row_max(others) - pick(z, labels);
}

}  // namespace caltrop
