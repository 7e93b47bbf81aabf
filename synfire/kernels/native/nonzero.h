// Which elements are not zero, 64 to a word: element j is bit j % 64 of word j / 64.
#pragma once

#include <cstdint>

namespace synfire {

// Writes ceil(n / 64) words; bits beyond n are zero. Halves are the bits of float16 or bfloat16.
void nonzero_words(const uint8_t* x, int64_t n, uint64_t* words);
void nonzero_words(const uint16_t* x, int64_t n, uint64_t* words);
void nonzero_words(const float* x, int64_t n, uint64_t* words);

// The same of floats; whether all that are not zero equal ``one``.
bool binary_words(const float* x, int64_t n, float one, uint64_t* words);

}  // namespace synfire
