// safetensors: round trips, the exact bytes of a small file, and one refusal for each way a file can lie.
#include "engine/safetensors.h"

#include <doctest/doctest.h>

#include <cstring>
#include <fstream>
#include <limits>

#include "tests/refusal.h"

namespace caltrop {
namespace {

// A file of a header and `data_bytes` of data 0, 1, 2, ...
std::string file_of(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  file += header;
  for (size_t i = 0; i < data_bytes; ++i) file += static_cast<char>(i);
  return file;
}

SafeTensorFile parse(const std::string& file) {
  return parse_safetensors(std::as_bytes(std::span(file)), "w.st");
}

// The refusal of a file; empty where it is accepted.
std::string refusal(const std::string& file) {
  return test::refusal([&] { return parse(file); });
}

std::string write_refusal(const SafeTensorFile& file) {
  return test::refusal([&] { return serialize_safetensors(file, "w.st"); });
}

// One clear line that names the file and holds `expected`.
void check_refused(const std::string& file, const std::string& expected) {
  const std::string text = refusal(file);
  CAPTURE(text);
  CHECK(text.starts_with("w.st: "));
  CHECK(text.find(expected) != std::string::npos);
  CHECK(text.find('\n') == std::string::npos);
  CHECK(text.size() < 400);
}

std::string entry(const std::string& name, const std::string& shape, int begin, int end,
                  const std::string& dtype = "F32") {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":[)" +
         std::to_string(begin) + "," + std::to_string(end) + "]}";
}

std::filesystem::path scratch(const std::string& name) {
  const auto folder = std::filesystem::temp_directory_path() / "caltrop_safetensors_test";
  std::filesystem::create_directories(folder);
  return folder / name;
}

SafeTensorFile example() {
  SafeTensorFile file;
  file.metadata = {{"architecture", "flatten | dense 2"}, {"note", "quote \" and \xC3\xA9"}};
  const float weight[] = {1.5f, -2.0f, 0.0f, std::numeric_limits<float>::infinity(), 1e-40f, 3.0f};
  file.tensors.emplace_back("1.weight", SafeTensor::from_floats({2, 3}, weight));
  file.tensors.emplace_back("1.bias", SafeTensor::from_floats({2}, std::span(weight, 2)));
  file.tensors.emplace_back("scalar", SafeTensor::from_floats({}, std::span(weight, 1)));
  file.tensors.emplace_back("empty", SafeTensor::from_floats({0, 4}, {}));
  return file;
}

}  // namespace

TEST_SUITE("engine") {
  TEST_CASE("safetensors: what is written is read back, from memory and from disk") {
    const SafeTensorFile file = example();
    const std::string bytes = serialize_safetensors(file, "w.st");
    CHECK(bytes == serialize_safetensors(file, "w.st"));
    CHECK((parse(bytes) == file));
    CHECK(parse(bytes).find("1.bias")->floats()[1] == -2.0f);
    CHECK(parse(bytes).find("2.bias") == nullptr);

    const auto path = scratch("round_trip.safetensors");
    write_safetensors(path, file);
    CHECK((read_safetensors(path) == file));
    std::filesystem::remove(path);
  }

  TEST_CASE("safetensors: the bytes of a small file") {
    SafeTensorFile file;
    const float value = 1.0f;
    file.tensors.emplace_back("a", SafeTensor::from_floats({1}, std::span(&value, 1)));
    const std::string header = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
    const size_t padded = (header.size() + 7) / 8 * 8;
    const std::string expected =
        file_of(header + std::string(padded - header.size(), ' '), 0) + std::string("\0\0\x80\x3f", 4);
    CHECK(serialize_safetensors(file, "w.st") == expected);
    CHECK(serialize_safetensors({}, "w.st") == file_of("{}      ", 0));
  }

  TEST_CASE("safetensors: data is laid out by falling element size and read in the file's order") {
    SafeTensorFile file;
    file.tensors.emplace_back("byte",
                              SafeTensor{.dtype = "U8", .shape = {3}, .bytes = std::vector<std::byte>(3)});
    file.tensors.emplace_back("float",
                              SafeTensor{.dtype = "F32", .shape = {1}, .bytes = std::vector<std::byte>(4)});
    file.tensors.emplace_back("long",
                              SafeTensor{.dtype = "I64", .shape = {1}, .bytes = std::vector<std::byte>(8)});
    const SafeTensorFile back = parse(serialize_safetensors(file, "w.st"));
    REQUIRE(back.tensors.size() == 3);
    CHECK(back.tensors[0].first == "long");
    CHECK(back.tensors[1].first == "float");
    CHECK(back.tensors[2].first == "byte");
    // The header's order is not the data's.
    const SafeTensorFile swapped =
        parse(file_of("{" + entry("b", "[1]", 4, 8) + "," + entry("a", "[1]", 0, 4) + "}", 8));
    CHECK(swapped.tensors[0].first == "a");
    CHECK(swapped.tensors[1].second.bytes[0] == std::byte{4});
  }

  TEST_CASE("safetensors: a file that lies about its header is refused") {
    check_refused("", "0 bytes");
    check_refused("1234567", "7 bytes");
    check_refused(std::string(8, '\xFF'), "at most 100000000 are allowed");
    const std::string whole = file_of("{" + entry("a", "[2]", 0, 8) + "}", 8);
    CHECK(refusal(whole).empty());
    for (size_t length = 0; length < whole.size(); ++length) CHECK(!refusal(whole.substr(0, length)).empty());
    check_refused(whole.substr(0, 20), "truncated");
    check_refused(whole.substr(0, whole.size() - 1), "truncated");
    check_refused(whole + "x", "1 bytes follow the last tensor");
    check_refused(file_of("", 0), "must begin with '{'");
    check_refused(file_of(" {}", 0), "must begin with '{'");
    check_refused(file_of("[]", 0), "must begin with '{'");
    check_refused(file_of("{", 0), "not valid JSON");
    check_refused(file_of("{}{}", 0), "not valid JSON");
    check_refused(file_of("{\"\xFF\":1}", 0), "not valid JSON");
    check_refused(file_of(std::string("{}\0\0", 4), 0), "not valid JSON");
    check_refused(file_of("{}" + std::string(1, '\0') + "{", 0), "not valid JSON (at its byte 3)");
  }

  TEST_CASE("safetensors: a header that is JSON but no safetensors is refused") {
    check_refused(file_of("{" + entry("a", "[1]", 0, 4) + "," + entry("a", "[1]", 4, 8) + "}", 8),
                  "names 'a' twice");
    check_refused(file_of(R"({"a":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}})", 4),
                  "gives its dtype twice");
    check_refused(file_of(R"({"a":{"shape":[],"data_offsets":[0,4]}})", 4), "has no dtype");
    check_refused(file_of(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4), "has no shape");
    check_refused(file_of(R"({"a":{"dtype":"F32","shape":[1]}})", 4), "has no data_offsets");
    check_refused(file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4),
                  "unknown entry 'x'");
    check_refused(file_of(R"({"a":3})", 0), "must be an object, found a number");
    check_refused(file_of(R"({"a":[3]})", 0), "must be an object, found an array");
    check_refused(file_of(R"({"a":{"dtype":5,"shape":[1],"data_offsets":[0,4]}})", 4), "must be a string");
    check_refused(file_of(R"({"a":{"dtype":"F32","shape":null,"data_offsets":[0,4]}})", 4),
                  "must be an array");
    check_refused(file_of(R"({"a":{"dtype":{"b":1},"shape":[1],"data_offsets":[0,4]}})", 4),
                  "found an object");
    check_refused(file_of("{" + entry("a", "[1]", 0, 4, "F33") + "}", 4), "unknown dtype 'F33'");
    // Nesting is refused at its first level, whatever its depth.
    check_refused(file_of(R"({"a":{"dtype":"F32","shape":)" + std::string(1'000'000, '['), 0),
                  "found an array");
    check_refused(file_of(R"({"a":)" + std::string(1'000'000, '['), 0), "found an array");
    check_refused(file_of(R"({"__metadata__":{"a":{"b":1}}})", 0), "must be a string, found an object");
    check_refused(file_of(R"({"__metadata__":{"a":1}})", 0), "must be a string, found a number");
    check_refused(file_of(R"({"__metadata__":"a"})", 0), "must be an object");
    check_refused(file_of(R"({"__metadata__":{"a":"1","a":"2"}})", 0), "names 'a' twice");
    check_refused(file_of(R"({"__metadata__":{},"__metadata__":{}})", 0), "twice");
  }

  TEST_CASE("safetensors: shapes and offsets that do not hold are refused") {
    const auto one = [](const std::string& shape, int begin, int end) {
      return file_of("{" + entry("a", shape, begin, end) + "}", 8);
    };
    check_refused(one("[-2]", 0, 8), "found the negative number -2");
    check_refused(one("[2.0]", 0, 8), "found the number 2.0");
    check_refused(one("[\"2\"]", 0, 8), "found a string");
    check_refused(one("[[2]]", 0, 8), "found an array");
    check_refused(one("[18446744073709551615]", 0, 8), "beyond 2^63");
    check_refused(one("[18446744073709551617]", 0, 8), "must hold non-negative integers");
    check_refused(one("[4611686018427387904,4]", 0, 8), "overflows");
    check_refused(one("[9223372036854775807,9223372036854775807,0]", 0, 8), "overflows");
    check_refused(one("[1]", 0, 8), "takes 4 bytes, but its data offsets span 8");
    check_refused(one("[3]", 0, 8), "takes 12 bytes");
    check_refused(one("[2]", 8, 0), "before it begins");
    check_refused(one("[2]", 4, 12), "ends at byte 12 of 8");
    check_refused(one("[1]", 4, 8), "leave a hole");
    check_refused(one("[1]", 0, 4), "4 bytes follow the last tensor");
    std::string ones = "[1";
    for (int i = 0; i < 64; ++i) ones += ",1";
    check_refused(one(ones + "]", 0, 4), "more than 64 dimensions");
    const auto two = [](int begin, int end) {
      return file_of("{" + entry("a", "[2]", 0, 8) + "," + entry("b", "[1]", begin, end) + "}", 16);
    };
    check_refused(two(4, 8), "overlap");
    check_refused(two(0, 4), "overlap");
    check_refused(two(12, 16), "leave a hole");
    check_refused(file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4),
                  "has 1 data offsets");
    check_refused(file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}})", 4), "more than two");
    check_refused(file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[-1,4]}})", 4),
                  "negative number -1");
    check_refused("\x02" + std::string(7, '\0') + "{}" + "data", "4 bytes follow");
  }

  TEST_CASE("safetensors: a hostile name stays on one short line") {
    const std::string name = R"(\n\u0007)" + std::string(5000, 'n');
    check_refused(file_of("{" + entry(name, "[3]", 0, 8) + "}", 8), "tensor '??nnn");
  }

  TEST_CASE("safetensors: files that cannot be read are refused by name") {
    const auto refused = [](const std::filesystem::path& path) {
      return test::refusal([&] { return read_safetensors(path); });
    };
    CHECK(refused("/nowhere/at/all.safetensors") == "/nowhere/at/all.safetensors: no such file");
    CHECK(refused("/tmp").find("not a regular file") != std::string::npos);
    CHECK(refused("/dev/zero").find("not a regular file") != std::string::npos);
    const auto path = scratch("truncated.safetensors");
    std::ofstream(path, std::ios::binary) << file_of("{" + entry("a", "[2]", 0, 8) + "}", 7);
    CHECK(refused(path).find("truncated") != std::string::npos);
    std::ofstream(path, std::ios::binary) << "short";
    CHECK(refused(path).find("5 bytes") != std::string::npos);
    std::filesystem::remove(path);
  }

  TEST_CASE("safetensors: what cannot be read back is not written") {
    SafeTensorFile file;
    const auto with = [](std::string name, SafeTensor tensor) {
      SafeTensorFile one;
      one.tensors.emplace_back(std::move(name), std::move(tensor));
      return one;
    };
    const SafeTensor good{.dtype = "U8", .shape = {1}, .bytes = {std::byte{7}}};
    CHECK(write_refusal(with("a", good)).empty());
    CHECK(write_refusal(with("a", {.dtype = "X", .shape = {1}, .bytes = {std::byte{7}}}))
              .find("unknown dtype") != std::string::npos);
    CHECK(write_refusal(with("a", {.dtype = "U8", .shape = {2}, .bytes = {std::byte{7}}}))
              .find("does not fit") != std::string::npos);
    CHECK(write_refusal(with("a", {.dtype = "U8", .shape = {-1}, .bytes = {}})).find("does not fit") !=
          std::string::npos);
    CHECK(write_refusal(with("__metadata__", good)).find("name is taken") != std::string::npos);
    CHECK(write_refusal(with("\xFF", good)).find("not valid UTF-8") != std::string::npos);
    file.tensors = {{"a", good}, {"a", good}};
    CHECK(write_refusal(file).find("name is taken") != std::string::npos);
    file = {};
    file.metadata["a"] = "\xC3";
    CHECK(write_refusal(file).find("not valid UTF-8") != std::string::npos);
    const float two[] = {1, 2};
    CHECK_THROWS_AS(SafeTensor::from_floats({3}, two), Error);
    CHECK_THROWS_AS(SafeTensor::from_floats({-2}, two), Error);
    CHECK_THROWS_AS((void)good.floats(), Error);
  }
}

}  // namespace caltrop
