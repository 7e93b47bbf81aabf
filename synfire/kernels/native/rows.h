// TimeRows of a block between memory, in whatever form, and floats in the first cache. Every function
// takes n elements; ``next`` is what will be read after them and is asked for meanwhile (where
// there is nothing: ``from`` itself).
#pragma once

#include <cstdint>

#include "blocks.h"

namespace synfire {

// Half precision of either kind to float, exactly; and to = from * scale rounded to the kind, ties
// to even.
void widen(Kind kind, const void* from, const void* next, int64_t n, float* to);
void narrow(Kind kind, const float* from, float scale, int64_t n, void* to);

// Floats of any kind: in place, or widened into a room; and what is left to be asked for.
struct Floats {
    const float* values;
    const void* next;
};
inline Floats read(Kind kind, const void* from, const void* next, int64_t n, float* room) {
    if (kind == Kind::float32) return {static_cast<const float*>(from), next};
    widen(kind, from, next, n, room);
    return {room, room};
}

// to = from * scale.
void scaled(const float* from, float scale, int64_t n, float* to);

// to = from * scale + shift, rounded twice.
void affine(const float* from, const void* next, Spread scale, Spread shift, int64_t n, float* to);

// to = from * factor.
void times(const float* from, Spread factor, int64_t n, float* to);

// to = gain * from + (slope * (x - centre) + offset).
void linear(const float* from, const float* x, Spread gain, Spread slope, Spread centre,
            Spread offset, int64_t n, float* to);

// to = from * (x - centre).
void times_centred(const float* from, const float* x, Spread centre, int64_t n, float* to);

// Whether an output is so large that it would push all else out of the caches.
inline bool worth_streaming(Kind kind, int64_t values) { return bytes_of(kind) * values > 8 << 20; }

// Copies past the caches. What was written so is seen by other threads after end_of_stream().
void stream(const void* from, int64_t bytes, void* to);
void end_of_stream();

void to_bytes(const float* counts, int64_t n, uint8_t* to);

// A bit a value: where it is positive, or not zero; and back, to = bit ? value : 0.
void pack_positive(const float* values, int64_t n, uint8_t* bits);
void pack_nonzero(const float* values, int64_t n, uint8_t* bits);
void unpack_flags(const uint8_t* bits, Spread value, int64_t n, float* to);

}  // namespace synfire
