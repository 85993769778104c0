// The bodies of the stb libraries, of which everything that is not PNG or JPEG stays out.
#include <zlib.h>

#include <cstdlib>

namespace {

// stb's own compressor is slow and leaves larger files. Its contract: a block from malloc, nullptr on
// failure.
unsigned char* compress_with_zlib(unsigned char* data, int size, int* compressed_size, int quality) {
  uLongf room = compressBound(static_cast<uLong>(size));
  auto* block = static_cast<unsigned char*>(std::malloc(room));
  if (block == nullptr) return nullptr;
  if (compress2(block, &room, data, static_cast<uLong>(size), quality) != Z_OK) {
    std::free(block);
    return nullptr;
  }
  *compressed_size = static_cast<int>(room);
  return block;
}

}  // namespace

#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_NO_STDIO
#define STBI_MAX_DIMENSIONS (1 << 16)
#define STB_IMAGE_IMPLEMENTATION
#include <stb/stb_image.h>

#define STBI_WRITE_NO_STDIO
#define STBIW_ZLIB_COMPRESS compress_with_zlib
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb/stb_image_write.h>

#define STB_IMAGE_RESIZE_IMPLEMENTATION
#include <stb/stb_image_resize.h>
