#include "engine/autograd.h"

#include <algorithm>
#include <mutex>
#include <unordered_map>

#include "engine/error.h"
#include "engine/ops.h"

namespace caltrop {
namespace {

thread_local bool recording_here = true;

uint64_t next_order() {
  static std::atomic<uint64_t> order{1};
  return order.fetch_add(1, std::memory_order_relaxed);
}

// The nodes that `outputs` were made from, oldest first.
std::vector<Node*> ancestors(const std::vector<Tensor>& outputs) {
  std::unordered_map<Node*, bool> seen;
  std::vector<Node*> found, pending;
  const auto visit = [&](Node* node) {
    if (node && seen.emplace(node, true).second) pending.push_back(node);
  };
  for (const Tensor& output : outputs) visit(output.node().get());
  while (!pending.empty()) {
    Node* node = pending.back();
    pending.pop_back();
    found.push_back(node);
    for (const Node::Input& input : node->inputs) visit(input.node.get());
  }
  std::sort(found.begin(), found.end(), [](const Node* a, const Node* b) { return a->order < b->order; });
  return found;
}

class Walk {
 public:
  Walk(const std::vector<Tensor>& outputs, const std::vector<Tensor>& wrt) : nodes_(ancestors(outputs)) {
    for (const Tensor& leaf : wrt) {
      if (!leaf.tracked())
        fail("[grad] expected tracked tensors, got one of shape {} without history; wrap it in variable()",
             to_string(leaf.shape()));
      useful_[leaf.node().get()] = true;
      kept_[leaf.node().get()] = true;
    }
    for (Node* node : nodes_) {
      bool leads = useful_[node];
      for (const Node::Input& input : node->inputs) leads = leads || useful(input);
      useful_[node] = leads;
    }
  }

  void add(Node* target, const Tensor& gradient) {
    Tensor& sum = gradients_[target];
    sum = sum ? sum + gradient : gradient;
  }

  void run() {
    for (auto at = nodes_.rbegin(); at != nodes_.rend(); ++at) {
      Node* node = *at;
      const auto found = gradients_.find(node);
      if (found == gradients_.end() || !useful_[node] || node->inputs.empty()) continue;
      const Tensor g = found->second;
      if (!kept_.count(node)) gradients_.erase(found);
      pull(*node, g);
    }
  }

  Tensor gradient_of(const Tensor& leaf) {
    const auto found = gradients_.find(leaf.node().get());
    if (found != gradients_.end()) return found->second;
    return Tensor::zeros(leaf.backend(), leaf.shape());
  }

 private:
  bool useful(const Node::Input& input) {
    const auto found = useful_.find(input.node.get());
    return found != useful_.end() && found->second;
  }

  void pull(Node& node, const Tensor& g) {
    Needs needs(node.inputs.size());
    bool any = false;
    for (size_t i = 0; i < needs.size(); ++i) {
      needs[i] = useful(node.inputs[i]);
      any = any || needs[i];
    }
    if (!any) return;
    const std::vector<Tensor> pulled = node.vjp(g, needs);
    for (size_t i = 0; i < needs.size(); ++i) {
      if (!needs[i]) continue;
      const Node::Input& input = node.inputs[i];
      add(input.node.get(), pulled[i].shape() == input.shape ? pulled[i] : sum_to(pulled[i], input.shape));
    }
  }

  std::vector<Node*> nodes_;
  std::unordered_map<Node*, bool> useful_, kept_;
  std::unordered_map<Node*, Tensor> gradients_;
};

// A node without its rule; null where nothing is recorded.
std::shared_ptr<Node> node_for(const char* op, const std::vector<Tensor>& inputs) {
  const bool any = std::any_of(inputs.begin(), inputs.end(), [](const Tensor& x) { return x.tracked(); });
  if (!recording_here || !any) return nullptr;
  auto node = std::make_shared<Node>();
  node->op = op;
  node->order = next_order();
  for (const Tensor& input : inputs) node->inputs.push_back({input.node(), input.shape()});
  return node;
}

// What a node holds other nodes by.
struct Remains {
  std::vector<Node::Input> inputs;
  Vjp vjp;
};
thread_local std::vector<Remains>* remains_here = nullptr;  // of the graph being released on this thread

struct CounterList {
  std::mutex mutex;
  std::vector<OpCounter*> counters;
};
CounterList& counter_list() {
  static CounterList list;
  return list;
}

}  // namespace

Node::~Node() {
  if (remains_here) {
    remains_here->push_back({std::move(inputs), std::move(vjp)});
    return;
  }
  std::vector<Remains> list;
  remains_here = &list;
  list.push_back({std::move(inputs), std::move(vjp)});
  while (!list.empty()) {
    const Remains last = std::move(list.back());  // its end may add to the list
    list.pop_back();
  }
  remains_here = nullptr;
}

Tensor variable(const Tensor& values) {
  auto node = std::make_shared<Node>();
  node->order = next_order();
  return attach(values, std::move(node));
}

Tensor record(const char* op, const Tensor& y, const std::vector<Tensor>& inputs, Vjp vjp) {
  auto node = node_for(op, inputs);
  if (!node) return y;
  node->vjp = std::move(vjp);
  return attach(y, std::move(node));
}

Tensor record(const char* op, const Tensor& y, const std::vector<Tensor>& inputs, OutputVjp vjp) {
  auto node = node_for(op, inputs);
  if (!node) return y;
  // The values alone and a plain pointer: a node never owns itself.
  node->vjp = [vjp = std::move(vjp), values = y.detach(), self = node.get()](const Tensor& g,
                                                                             const Needs& needs) {
    return vjp(g, attach(values, self->shared_from_this()), needs);
  };
  return attach(y, std::move(node));
}

std::vector<Tensor> grad(const std::vector<Tensor>& outputs, const std::vector<Tensor>& wrt,
                         const GradOptions& options) {
  if (!options.grad_outputs.empty() && options.grad_outputs.size() != outputs.size()) {
    fail("[grad] expected {} grad_outputs, got {}", outputs.size(), options.grad_outputs.size());
  }
  Walk walk(outputs, wrt);
  const Recording scope(options.create_graph);
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!outputs[i].tracked()) continue;
    Tensor grad_output = options.grad_outputs.empty() ? Tensor() : options.grad_outputs[i];
    if (!grad_output) grad_output = Tensor::full(outputs[i].backend(), outputs[i].shape(), 1.0f);
    if (grad_output.shape() != outputs[i].shape()) {
      fail("[grad] expected a grad_output of shape {}, got {}", to_string(outputs[i].shape()),
           to_string(grad_output.shape()));
    }
    walk.add(outputs[i].node().get(), grad_output);
  }
  walk.run();
  std::vector<Tensor> gradients;
  gradients.reserve(wrt.size());
  for (const Tensor& leaf : wrt) gradients.push_back(walk.gradient_of(leaf));
  return gradients;
}

Tensor grad(const Tensor& output, const Tensor& wrt, const GradOptions& options) {
  return grad(std::vector<Tensor>{output}, std::vector<Tensor>{wrt}, options)[0];
}

Recording::Recording(bool on) : before_(recording_here) {
  recording_here = on;
}
Recording::~Recording() {
  recording_here = before_;
}
bool recording() {
  return recording_here;
}

OpCounter::OpCounter(const char* name) : name_(name) {
  CounterList& list = counter_list();
  const std::lock_guard lock(list.mutex);
  list.counters.push_back(this);
}

int64_t op_calls(const std::string& name) {
  CounterList& list = counter_list();
  const std::lock_guard lock(list.mutex);
  int64_t calls = 0;
  for (const OpCounter* counter : list.counters) {
    if (name == counter->name()) calls += counter->calls();
  }
  return calls;
}

}  // namespace caltrop
