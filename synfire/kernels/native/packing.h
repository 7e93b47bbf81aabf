// Bits and 4-bit counts along rows, each row padded with zero bits to whole bytes; see
// ../packing/reference.py. All buffers are contiguous.
#pragma once

#include <cstdint>

namespace synfire {

enum class Element { uint8, float16, bfloat16, float32 };

struct Rows {
    int64_t rows, n;  // n elements in a row
};

// Element j of a row becomes bit j % 8 of byte j / 8: set where it is not zero.
void pack_bits(const void* x, Element element, Rows rows, uint8_t* packed, int threads);

// round(x / scale), two in a byte, the first in the low half; clipped to 0..15. Whether all of them
// lay within 0..15 is returned.
bool pack_counts(const void* x, Element element, Rows rows, float scale, uint8_t* packed,
                 int threads);

// ``table`` holds for each byte value the ``in_a_byte`` elements of ``size`` bytes that it stands
// for.
void unpack(const uint8_t* packed, Rows rows, int in_a_byte, const void* table, int size, void* out,
            int threads);

int64_t popcount(const uint8_t* packed, int64_t bytes, int threads);
int64_t count_nonzero(const void* x, Element element, int64_t n, int threads);

}  // namespace synfire
