// NPZ: NumPy's own bytes are read, ours are NumPy's, and one refusal for each way an archive can lie.
#include "data/npz.h"

#include <cstring>

#include "tests/data/bytes.h"
#include "tests/files.h"

namespace caltrop::test {
namespace {

// numpy.savez_compressed(a=arange(6, float32).reshape(2, 3), n=int64(7), z=zeros(40, uint8)), NumPy 2.
constexpr std::string_view kNumpyArchive =
    "504b03042d0000000800000021004fe9002affffffffffffffff05001400612e6e70790100100098000000000000005500000000"
    "00"
    "00009bec17ea1b10c9c850c650ad9e925a9c5ca46ea5a06e9366a2aea3a09e965f54529498179f5f94920a12774bcc294e058a17"
    "67"
    "2416a402f91a463a0ac69a3a0ab50a64032e063068b007120e4004c40d40bcc00100504b03042d00000008000000210023b8f06c"
    "ff"
    "ffffffffffffff050014006e2e6e707901001000880000000000000046000000000000009bec17ea1b10c9c850c650ad9e925a9c"
    "5c"
    "a46ea5a06e9369a1aea3a09e965f54529498179f5f94920a12774bcc294e058a17672416a402f91a9a3a0ab50a14012e76060800"
    "00"
    "504b03042d000000080000002100f0910431ffffffffffffffff050014007a2e6e707901001000a8000000000000004800000000"
    "00"
    "00009bec17ea1b10c9c850c650ad9e925a9c5ca46ea5a05e536aa8aea3a09e965f54529498179f5f94920a12774bcc294e058a17"
    "67"
    "2416a402f91a26063a9a3a0ab50ae4032e06220100504b01022d032d0000000800000021004fe9002a5500000098000000050000"
    "00"
    "0000000000000000800100000000612e6e7079504b01022d032d00000008000000210023b8f06c46000000880000000500000000"
    "00"
    "00000000000080018c0000006e2e6e7079504b01022d032d000000080000002100f091043148000000a800000005000000000000"
    "00"
    "000000008001090100007a2e6e7079504b0506000000000300030099000000880100000000";

// numpy.lib.format.write_array(array([1, -2], int32)).
std::string numpy_array() {
  std::string file =
      std::string("\x93NUMPY\x01\x00v\x00", 10) + "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }";
  file.append(127 - file.size(), ' ');
  return file + '\n' + std::string("\1\0\0\0\xfe\xff\xff\xff", 8);
}

NpyArray parse(const std::string& file) {
  return parse_npy(std::as_bytes(std::span(file)), "x.npz (entry a.npy)");
}

// An NPY file, version 1, of this header and data.
std::string npy(const std::string& header, const std::string& data) {
  return std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size()) + '\0' + header + data;
}

std::string described(const std::string& dtype, const std::string& order, const std::string& shape) {
  return "{'descr': '" + dtype + "', 'fortran_order': " + order + ", 'shape': " + shape + "}";
}

template <typename Action>
std::string failure(Action action) {
  return refusal([&] {
    action();
    return 0;
  });
}

void write_sample(const fs::path& path) {
  NpzWriter writer(path);
  writer.add("x", {2, 2}, std::vector<uint8_t>{1, 2, 3, 255});
  writer.add("delta", {2, 1, 2}, std::vector<float>{0.25f, -1e-30f, 3.0f, 0.0f});
  writer.add("label", {3}, std::vector<int32_t>{1, -2, 3});
  writer.add("index", {}, std::vector<int64_t>{int64_t{1} << 40});
  writer.add("none", {0, 28}, std::vector<float>{});
  writer.close();
}

}  // namespace

TEST_SUITE("data") {
  TEST_CASE("npz: arrays come back as they were written") {
    const TempDirectory directory;
    write_sample(directory / "x.npz");
    const auto arrays = read_npz(directory / "x.npz");
    CHECK(arrays.size() == 5);
    CHECK(arrays.at("x").dtype == "|u1");
    CHECK(arrays.at("x").shape == std::vector<int64_t>{2, 2});
    CHECK(arrays.at("x").values<uint8_t>("x")[3] == 255);
    CHECK(arrays.at("delta").shape == std::vector<int64_t>{2, 1, 2});
    CHECK(arrays.at("delta").values<float>("delta")[1] == -1e-30f);
    CHECK(arrays.at("label").values<int32_t>("label")[1] == -2);
    CHECK(arrays.at("index").shape.empty());
    CHECK(arrays.at("index").values<int64_t>("index")[0] == int64_t{1} << 40);
    CHECK(arrays.at("none").shape == std::vector<int64_t>{0, 28});
    CHECK(arrays.at("none").values<float>("none").empty());
    check_refusal(failure([&] { (void)arrays.at("x").values<float>("x"); }),
                  {"x: expected float32, found uint8"});
    CHECK(directory.entries() == 1);
  }

  TEST_CASE("npz: the same arrays give the same bytes, in any time zone") {
    const TempDirectory directory;
    write_sample(directory / "a.npz");
    const Environment zone("TZ", "Asia/Tokyo");
    write_sample(directory / "b.npz");
    CHECK(file_bytes(directory / "a.npz") == file_bytes(directory / "b.npz"));
  }

  TEST_CASE("npz: entries hold the bytes that NumPy writes") {
    const TempDirectory directory;
    NpzWriter writer(directory / "x.npz");
    writer.add("v", {2}, std::vector<int32_t>{1, -2});
    writer.close();
    CHECK(file_bytes(directory / "x.npz").find(numpy_array()) != std::string::npos);
  }

  TEST_CASE("npz: what NumPy compresses is read") {
    const TempDirectory directory;
    write_file(directory / "x.npz", unhex(kNumpyArchive));
    const auto arrays = read_npz(directory / "x.npz");
    CHECK(arrays.size() == 3);
    CHECK(arrays.at("a").shape == std::vector<int64_t>{2, 3});
    CHECK(arrays.at("a").values<float>("a")[5] == 5.0f);
    CHECK(arrays.at("n").values<int64_t>("n")[0] == 7);
    CHECK(arrays.at("z").size() == 40);
  }

  TEST_CASE("npz: nothing is left without close, or where writing fails") {
    const TempDirectory directory;
    const fs::path path = directory / "x.npz";
    { NpzWriter(path).add("x", {1}, std::vector<float>{1}); }
    CHECK(directory.entries() == 0);

    write_file(path, "what was there before");
    {
      const FullDisk full(100'000);
      NpzWriter writer(path);
      writer.add("x", {100'000}, std::vector<float>(100'000));
      check_refusal(failure([&] { writer.close(); }), {path.string(), "File too large"});
    }
    CHECK(file_bytes(path) == "what was there before");
    CHECK(directory.entries() == 1);
    check_refusal(failure([&] { NpzWriter writer(directory / "none" / "x.npz"); }),
                  {"No such file or directory"});
    check_refusal(failure([&] { NpzWriter writer(directory.path()); }), {"it is a directory"});
    check_refusal(failure([&] { NpzWriter writer("/dev/full"); }), {"not a regular file"});
  }

  TEST_CASE("npz: wrong arrays are refused before they are written") {
    const TempDirectory directory;
    NpzWriter writer(directory / "x.npz");
    const std::vector<float> four(4);
    check_refusal(failure([&] { writer.close(); }), {"no arrays"});
    check_refusal(failure([&] { writer.add("x", {5}, four); }), {"'x'", "[5]", "4 elements"});
    check_refusal(failure([&] { writer.add("x", {-2, -2}, four); }), {"'x'"});
    check_refusal(failure([&] { writer.add("x", {int64_t{1} << 62, 4, 4}, four); }), {"'x'"});
    check_refusal(failure([&] { writer.add("", {4}, four); }), {"name"});
    check_refusal(failure([&] { writer.add("../x", {4}, four); }), {"name"});
    writer.add("x", {4}, four);
    check_refusal(failure([&] { writer.add("x", {2, 2}, four); }), {"'x'", "already"});
    writer.close();
    check_refusal(failure([&] { writer.add("y", {4}, four); }), {"closed"});
    check_refusal(failure([&] { writer.close(); }), {"closed"});
    CHECK(read_npz(directory / "x.npz").size() == 1);
  }

  TEST_CASE("npz: damaged archives are refused") {
    const TempDirectory directory;
    const fs::path path = directory / "x.npz";
    check_refusal(failure([&] { read_npz(path); }), {path.string(), "no such file"});
    check_refusal(failure([&] { read_npz(directory.path()); }), {"no such file"});
    write_sample(path);
    const std::string whole = file_bytes(path);
    const auto check_refused = [&](const std::string& content) {
      write_file(path, content);
      check_refusal(failure([&] { read_npz(path); }), {path.string()});
    };
    check_refused("");
    check_refused("hello");
    for (size_t size = 1; size < whole.size(); size += 13) check_refused(whole.substr(0, size));
    std::string flipped = whole;
    flipped[whole.find("\x01\x02\x03\xff")] ^= 1;  // an element: only the checksum can tell
    check_refused(flipped);
    std::string renamed = whole;  // in both places: the same name twice
    for (size_t at = renamed.find("none.npy"); at != std::string::npos;
         at = renamed.find("none.npy", at + 1)) {
      renamed.replace(at, 8, "nope.txt");
    }
    check_refused(renamed);
  }

  TEST_CASE("npy: versions and spellings that NumPy writes are read") {
    CHECK(parse(numpy_array()).values<int32_t>("v")[1] == -2);
    CHECK(parse(npy(described("<f4", "False", "()"), "abcd")).shape.empty());
    CHECK(parse(npy(described("|u1", "False", "(2, 2,)"), "abcd")).shape == std::vector<int64_t>{2, 2});
    // Fortran order of one dimension is row-major all the same.
    CHECK(parse(npy(described("|u1", "True", "(4,)"), "abcd")).size() == 4);
    std::string second = npy(described("|u1", "False", "(1,)"), "a");
    second.replace(6, 2, std::string("\x02\x00", 2)).insert(10, 2, '\0');
    CHECK(parse(second).values<uint8_t>("x")[0] == 'a');
  }

  TEST_CASE("npy: integers and floats of any width, and types in NumPy's words") {
    const auto array = [](const std::string& dtype, const std::string& shape, const std::string& data) {
      return parse(npy(described(dtype, "False", shape), data));
    };
    const std::string bytes("\2\0\0\0\0\0\0\0", 8);
    const std::pair<const char*, size_t> integers[] = {{"|i1", 1}, {"|u1", 1}, {"<i2", 2}, {"<u2", 2},
                                                       {"<i4", 4}, {"<u4", 4}, {"<i8", 8}, {"<u8", 8}};
    for (const auto& [dtype, size] : integers) {
      const NpyArray one = array(dtype, "(1,)", bytes.substr(0, size));
      CAPTURE(dtype);
      CHECK(integers_of(one, "a") == std::vector<int64_t>{2});
      CHECK(
          refusal([&] { (void)floats_of(one, "a"); }).starts_with("a: expected float32 or float64, found "));
    }
    CHECK(refusal([&] { (void)integers_of(array("<u8", "(1,)", std::string(8, '\xff')), "a"); }) ==
          "a: 18446744073709551615 is too large");
    CHECK(floats_of(array("<f4", "(1,)", std::string("\0\0\xc0\x3f", 4)), "a") == std::vector<float>{1.5f});
    CHECK(floats_of(array("<f8", "(1,)", std::string("\0\0\0\0\0\0\xf8\x3f", 8)), "a") ==
          std::vector<float>{1.5f});
    CHECK(refusal([&] { (void)integers_of(array("<f8", "(1,)", bytes), "labels.npy"); }) ==
          "labels.npy: expected integers (int64, int32, uint8, ...), found float64");
    CHECK(
        refusal([&] { (void)integers_of(array("|b1", "(1,)", "\1"), "mask.npy"); }).ends_with("found bool"));
    CHECK(refusal([&] { (void)array("<i8", "(1,)", bytes).values<int32_t>("label"); }) ==
          "label: expected int32, found int64");
    check_refusal(refusal([&] { (void)array("<f2", "(1,)", "ab"); }),
                  {"expected integers, float32, float64 or bool, found float16"});
  }

  TEST_CASE("npy: headers that lie are refused") {
    const auto refused = [](const std::string& file, std::string_view why) {
      check_refusal(failure([&] { parse(file); }), {"x.npz (entry a.npy)", why});
    };
    refused("", "not an NPY array");
    refused("PK\3\4 not numpy", "not an NPY array");
    refused("\x93NUMPY\x09\x01", "version 9");
    refused(std::string("\x93NUMPY\x01\x00\xff\xff", 10), "truncated");
    refused(std::string("\x93NUMPY\x02\x00\xff\xff\xff\xff", 12), "truncated");
    refused(npy(described("<f4", "True", "(1, 1)"), "abcd"), "Fortran order");
    refused(npy(described(">f4", "False", "(1,)"), "abcd"), "'>f4'");
    refused(npy(described("|O", "False", "(1,)"), "abcd"), "'|O'");
    refused(npy(described("<U4", "False", "(1,)"), "abcd"), "'<U4'");
    refused(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", "abcd"), "structured");
    refused(npy(described("<f4", "False", "(2,)"), "abcd"), "needs 8 bytes, found 4");
    refused(npy(described("<f4", "False", "(1,)"), "abcdefgh"), "needs 4 bytes, found 8");
    refused(npy(described("<f4", "False", "(-1,)"), "abcd"), "shape");
    refused(npy(described("<f4", "False", "(4611686018427387904, 4)"), "abcd"), "overflows");
    refused(npy(described("<f4", "False", "(99999999999999999999,)"), "abcd"), "shape");
    refused(npy(described("<f4", "false", "(1,)"), "abcd"), "damaged");
    refused(npy("{'descr': '<f4', 'shape': (1,)}", "abcd"), "lacks");
    refused(npy("{'descr': '<f4', 'evil': 1}", "abcd"), "'evil'");
    refused(npy("{'descr': '<f4", "abcd"), "damaged");
    refused(npy(described("<f4", "False", "(1,)") + "x", "abcd"), "damaged");
  }
}

}  // namespace caltrop::test
