// Rows of a block between memory, in whatever form, and floats in the first cache. Every function
// takes n elements.
#pragma once

#include <cstdint>

#include "blocks.h"

namespace synfire {

// Half precision of either kind to float, exactly; and to = from * scale rounded to the kind, ties
// to even. ``past`` here and below: past the caches, to whole lines.
void widen(Kind kind, const void* from, int64_t n, float* to);
void narrow(Kind kind, const float* from, float scale, int64_t n, void* to, bool past);

// Floats of any kind: in place, or widened into a room.
inline const float* read(Kind kind, const void* from, int64_t n, float* room) {
    if (kind == Kind::float32) return static_cast<const float*>(from);
    widen(kind, from, n, room);
    return room;
}

// to = from * scale.
void scaled(const float* from, float scale, int64_t n, float* to);

// to = from * scale + shift, rounded twice.
void affine(const float* from, Spread scale, Spread shift, int64_t n, float* to);

// to = from * factor.
void times(const float* from, Spread factor, int64_t n, float* to);

// to = gain * from + (slope * (x - centre) + offset). What comes after x is asked for meanwhile.
struct Linear {
    Spread gain, slope, centre, offset;
};
void linear(const float* from, const float* x, Ahead next_x, const Linear& map, int64_t n,
            float* to, bool past);

// The same where all elements have the first constants.
void linear_alike(const float* from, const float* x, Ahead next_x, const Linear& map, int64_t n,
                  float* to, bool past);

// to = from * (x - centre).
void times_centred(const float* from, const float* x, Spread centre, int64_t n, float* to);

// Whether an output is so large that it would push all else out of the caches.
inline bool worth_streaming(int64_t bytes) { return bytes > 8 << 20; }

// Whether rows of ``bytes`` begin and end on lines of 64 bytes.
inline bool in_lines(const void* rows, int64_t bytes) {
    return (reinterpret_cast<uintptr_t>(rows) | static_cast<uintptr_t>(bytes)) % 64 == 0;
}

// Copies past the caches, to any place. What was written so is seen by other threads after
// end_of_stream().
void stream(const void* from, int64_t bytes, void* to);
void end_of_stream();

void to_bytes(const float* counts, int64_t n, uint8_t* to, bool past);

}  // namespace synfire
