// Work in threads that live as long as the call: no runtime of our own beside torch's.
#pragma once

#include <algorithm>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

namespace synfire {

// Calls work(part) for each part, all but the first in a thread of its own where one can be had.
template <typename Work>
void in_threads(int parts, const Work& work) {
    std::vector<std::thread> others;
    others.reserve(parts);
    for (int part = 1; part < parts; ++part) {
        try {
            others.emplace_back(work, part);
        } catch (const std::system_error&) {  // the system grants no more threads
            work(part);
        }
    }
    work(0);
    for (std::thread& thread : others) thread.join();
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
