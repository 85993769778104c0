// Reverse-mode differentiation over a tape that hangs from the tensors themselves.
//
// An op on tracked tensors records a Node: the nodes of its inputs and its vjp, the rule that maps the gradient of
// its output to gradients of its inputs. Each vjp is made of public ops, so that with `create_graph` the gradient
// is itself tracked and can be differentiated again, to any order. grad() returns tensors and changes
// nothing. A record keeps the values that its vjp captured and no others: they are what training needs memory for.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/tensor.h"

namespace caltrop {

// Which inputs' gradients are asked for: a vjp computes only those, so an attack pays for no weight gradient.
using Needs = std::vector<bool>;

// Gradient g of the output y -> one gradient per input (empty where not needed). A gradient may have the
// broadcast shape of y: the driver sums it back to the shape of the input.
using Vjp = std::function<std::vector<Tensor>(const Tensor& g, const Needs& needs)>;
// The same for a rule that uses y. It cannot capture y itself, whose history is the record that holds the rule.
using OutputVjp = std::function<std::vector<Tensor>(const Tensor& g, const Tensor& y, const Needs& needs)>;

struct Node : std::enable_shared_from_this<Node> {
  ~Node();  // releases a graph of any depth without recursion

  struct Input {
    std::shared_ptr<Node> node;  // null where no gradient flows
    Shape shape;
  };

  const char* op = "variable";
  uint64_t order = 0;  // creation order, which is a topological order
  std::vector<Input> inputs;
  Vjp vjp;
};

// A leaf: the same values, with gradients flowing to it.
Tensor variable(const Tensor& values);

// `y` with a record of how it was made, if any input is tracked and recording is on; else `y`.
Tensor record(const char* op, const Tensor& y, const std::vector<Tensor>& inputs, Vjp vjp);
Tensor record(const char* op, const Tensor& y, const std::vector<Tensor>& inputs, OutputVjp vjp);

struct GradOptions {
  bool create_graph = false;              // track the gradients themselves
  std::vector<Tensor> grad_outputs = {};  // the gradient of each output; ones where absent
};

// d(sum of outputs) / d(wrt), one tensor for each; zeros where no path leads.
std::vector<Tensor> grad(const std::vector<Tensor>& outputs, const std::vector<Tensor>& wrt,
                         const GradOptions& options = {});
Tensor grad(const Tensor& output, const Tensor& wrt, const GradOptions& options = {});

// Switches recording on or off on this thread while it lives.
class Recording {
 public:
  explicit Recording(bool on);
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

 private:
  bool before_;
};
struct NoGrad : Recording {
  NoGrad() : Recording(false) {}
};
bool recording();

// How often each op ran since the program started: what an attack did, and what it did not.
class OpCounter {
 public:
  explicit OpCounter(const char* name);
  void count() { calls_.fetch_add(1, std::memory_order_relaxed); }
  const char* name() const { return name_; }
  int64_t calls() const { return calls_.load(std::memory_order_relaxed); }

 private:
  const char* name_;
  std::atomic<int64_t> calls_ = 0;
};
int64_t op_calls(const std::string& name);

#define CALTROP_COUNT_OP(name)            \
  do {                                    \
    static ::caltrop::OpCounter op(name); \
    op.count();                           \
  } while (0)

}  // namespace caltrop
