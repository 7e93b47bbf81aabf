// Work in the threads of the pool: no runtime of our own beside torch's.
#pragma once

#include <algorithm>
#include <cstdint>

#include "pool.h"

namespace synfire {

// Calls work(part) for each part, at most ``parts`` of them at a time.
template <typename Work>
void in_threads(int parts, const Work& work) {
    share(parts, parts, [&](int part, int) { work(part); });
}

// Calls work(begin, end) for even ranges of ``items``, none but the last of them ragged: all others
// are multiples of ``grain``.
template <typename Work>
void in_ranges(int64_t items, int64_t grain, int threads, const Work& work) {
    const int64_t grains = (items + grain - 1) / grain;
    const int parts = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, grains)));
    in_threads(parts, [&](int part) {
        work(grains * part / parts * grain, std::min(items, grains * (part + 1) / parts * grain));
    });
}

}  // namespace synfire
