// Files appear whole or not at all.
#include "engine/atomic_file.h"

#include <sys/stat.h>

#include <array>
#include <thread>

#include "tests/files.h"

namespace caltrop::test {
namespace {

std::string write_refusal(const fs::path& path, std::string_view bytes) {
  return refusal([&] {
    write_file_atomically(path, bytes);
    return 0;
  });
}

}  // namespace

TEST_SUITE("engine") {
  TEST_CASE("atomic file: content is replaced as a whole, and nothing lies beside it") {
    const TempDirectory directory;
    const fs::path path = directory / "x";
    write_file_atomically(path, "first, and longer");
    CHECK(file_bytes(path) == "first, and longer");
    write_file_atomically(path, std::string_view("se\0cond", 7), Durability::unsynced);
    CHECK(file_bytes(path) == std::string_view("se\0cond", 7));
    CHECK(directory.entries() == 1);
    const mode_t mask = umask(027);
    write_file_atomically(directory / "y", "");
    umask(mask);
    CHECK(fs::status(directory / "y").permissions() == fs::perms(0640));
    CHECK(fs::file_size(directory / "y") == 0);
  }

  TEST_CASE("atomic file: nothing is seen before commit, and nothing stays without it") {
    const TempDirectory directory;
    const fs::path path = directory / "x";
    {
      AtomicFile file(path);
      file.write("0123456789");
      file.seek(2);
      file.write("ab");
      CHECK(file.position() == 4);
      CHECK(!fs::exists(path));
    }
    CHECK(directory.entries() == 0);
    AtomicFile file(path);
    file.write("0123456789");
    file.seek(2);
    file.write("ab");
    file.commit();
    CHECK(file_bytes(path) == "01ab456789");
  }

  TEST_CASE("atomic file: a full disk leaves what was there") {
    const TempDirectory directory;
    const fs::path path = directory / "x";
    write_file_atomically(path, "old");
    {
      const FullDisk full(1000);
      check_refusal(write_refusal(path, std::string(2000, 'x')), {path.string(), "File too large"});
    }
    CHECK(file_bytes(path) == "old");
    CHECK(directory.entries() == 1);
  }

  TEST_CASE("atomic file: the leftovers of a killed writer are taken over") {
    const TempDirectory directory;
    write_file(directory / ".x.tmp", "half of what a killed process wanted to write");
    write_file_atomically(directory / "x", "whole");
    CHECK(file_bytes(directory / "x") == "whole");
    CHECK(directory.entries() == 1);
  }

  TEST_CASE("atomic file: a link keeps pointing, a device is written in place") {
    const TempDirectory directory;
    write_file_atomically(directory / "target", "old");
    fs::create_symlink("target", directory / "link");
    write_file_atomically(directory / "link", "new");
    CHECK(fs::is_symlink(directory / "link"));
    CHECK(file_bytes(directory / "target") == "new");
    write_file_atomically("/dev/null", "nothing");
    CHECK(fs::is_character_file("/dev/null"));
    check_refusal(write_refusal("/dev/full", "x"), {"/dev/full", "No space left on device"});
    CHECK(fs::is_character_file("/dev/full"));
  }

  TEST_CASE("atomic file: places that cannot be written are named with the reason") {
    const TempDirectory directory;
    write_file(directory / "file", "");
    check_refusal(write_refusal(directory / "none" / "x", "x"), {"none/x", "No such file or directory"});
    check_refusal(write_refusal(directory / "file" / "x", "x"), {"file/x", "Not a directory"});
    check_refusal(write_refusal(directory.path(), "x"), {"it is a directory"});
    check_refusal(write_refusal("", "x"), {"the name of a file"});
    CHECK(directory.entries() == 1);
  }

  TEST_CASE("atomic file: of many writers, one wins as a whole") {
    const TempDirectory directory;
    const fs::path path = directory / "x";
    std::array<std::thread, 8> writers;
    for (size_t i = 0; i < writers.size(); ++i) {
      writers[i] = std::thread([&path, i] {
        const std::string content(50'000, static_cast<char>('a' + static_cast<int>(i)));
        for (int round = 0; round < 20; ++round) write_file_atomically(path, content, Durability::unsynced);
      });
    }
    for (std::thread& writer : writers) writer.join();
    const std::string content = file_bytes(path);
    CHECK(content.size() == 50'000);
    CHECK(content.find_first_not_of(content[0]) == std::string::npos);
    CHECK(directory.entries() == 1);
  }
}

}  // namespace caltrop::test
