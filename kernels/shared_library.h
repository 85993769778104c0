// Functions of a library that is loaded when it is first asked for, so that the program starts on machines
// without it.
#pragma once

#include <dlfcn.h>

#include <string>

#include "kernels/error.h"

namespace caltrop {

class SharedLibrary {
 public:
  // From where the loader looks, or from `path`, where it was found at build time.
  SharedLibrary(const char* name, const char* path)
      : name_(name), handle_(dlopen(name, RTLD_NOW | RTLD_LOCAL)) {
    if (!handle_) handle_ = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  }
  bool here() const { return handle_ != nullptr; }
  template <typename F>
  F* function(const char* symbol) const {
    void* address = handle_ ? dlsym(handle_, symbol) : nullptr;
    if (!address) throw Error(std::string("[") + name_ + "] has no " + symbol);
    return reinterpret_cast<F*>(address);
  }

 private:
  const char* name_;
  void* handle_;  // stays open until the program ends
};

// Calls a library's function by its declared type; check(status, name) makes an Error of a failure.
#define CALTROP_CALL(library, name, ...) check((library).function<decltype(name)>(#name)(__VA_ARGS__), #name)
#define CALTROP_DIGITS(number) #number
#define CALTROP_TEXT(number) CALTROP_DIGITS(number)

}  // namespace caltrop
