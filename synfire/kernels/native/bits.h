// Rows of flags: element j of a row is bit j % 8 of byte j / 8.
#pragma once

#include <cstdint>

#include "blocks.h"

namespace synfire {

// Where a value is positive, or not zero.
void pack_positive(const float* values, int64_t n, uint8_t* bits);
void pack_nonzero(const float* values, int64_t n, uint8_t* bits);

// low <= value / unit <= high, or low < value / unit < high.
struct Window {
    float low, high, unit;
    bool inclusive;
};
void pack_window(const float* values, Window window, int64_t n, uint8_t* bits);

// to = bit ? value : 0.
void unpack_flags(const uint8_t* bits, Spread value, int64_t n, float* to);

}  // namespace synfire
