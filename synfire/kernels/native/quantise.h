// Counts of membranes, and what a count leaves of them.
#pragma once

#include "integrate_fire.h"
#include "lanes.h"

namespace synfire {

// A rounding of up to ``levels`` counts, or what it comes to for a binary neuron: a comparison with
// the first level.
enum class Count { half_up, half_even, floor, at_least, above };

inline Count count_of(const Dynamics& dynamics) {
    if (dynamics.levels > 1) return static_cast<Count>(dynamics.rounding);
    return dynamics.rounding == Rounding::half_even ? Count::above : Count::at_least;
}

// ``most``: the number of levels, or the first level of a binary neuron.
inline float most_of(const Dynamics& dynamics) {
    return dynamics.levels > 1 ? static_cast<float>(dynamics.levels) : dynamics.first_level();
}

template <Count count, typename V>
SYNFIRE_INLINE V quantise(V u, float most) {
    const V zero = V{}, one = splat<V>(1.0f), limit = splat<V>(most);
    if constexpr (count == Count::at_least || count == Count::above) {
        V fired;
        if constexpr (count == Count::at_least)
            fired = u >= limit ? one : zero;
        else
            fired = u > limit ? one : zero;
        return u == u ? fired : u;  // NaN stays NaN
    }
    const V clipped = clip(u, zero, limit);
    if constexpr (count == Count::half_even) return nearest_integer(clipped);
    if constexpr (count == Count::floor) return round_down(clipped);
    // With 1/2 itself, the sum of the number just below 1/2 would round up to 1.
    constexpr float below_half = 0x1.fffffep-2f;
    return round_down(clipped + below_half);
}

// The same of any number of levels by the name of the rounding.
template <Rounding rounding, typename V>
SYNFIRE_INLINE V quantise(V u, float levels) {
    return quantise<static_cast<Count>(rounding)>(u, levels);
}

template <Reset reset, typename V>
SYNFIRE_INLINE V after_reset(V h, V s, V threshold, float reset_value) {
    if constexpr (reset == Reset::soft) return h - threshold * s;
    if constexpr (reset == Reset::hard) return s > V{} ? splat<V>(reset_value) : h;
    return h;
}

}  // namespace synfire
