// Counts of membranes.
#pragma once

#include "integrate_fire.h"
#include "lanes.h"

namespace synfire {

template <Rounding rounding, typename V>
SYNFIRE_INLINE V quantise(V u, float levels) {
    const V clipped = clip(u, V{}, splat<V>(levels));
    if constexpr (rounding == Rounding::half_even) return nearest_integer(clipped);
    if constexpr (rounding == Rounding::floor) return round_down(clipped);
    // With 1/2 itself, the sum of the number just below 1/2 would round up to 1.
    constexpr float below_half = 0x1.fffffep-2f;
    return round_down(clipped + below_half);
}

template <Reset reset, typename V>
SYNFIRE_INLINE V after_reset(V h, V s, V threshold, float reset_value) {
    if constexpr (reset == Reset::soft) return h - threshold * s;
    if constexpr (reset == Reset::hard) return s > V{} ? splat<V>(reset_value) : h;
    return h;
}

}  // namespace synfire
