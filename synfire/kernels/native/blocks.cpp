#include "blocks.h"

namespace synfire {

Spread spread(const Channelwise& constant, int64_t first, int64_t n, float* room) {
    const int64_t inner = constant.inner, channels = constant.channels;
    int64_t channel = (first / inner) % channels;
    int64_t left = inner - first % inner;
    if (channels == 1 || left >= n) {
        std::fill_n(room, kMostLanes, constant.values[channel]);
        return {room, 0};
    }
    for (int64_t done = 0; done < n;) {
        if (inner == 1) {  // neighbours are channels
            const int64_t run = std::min(channels - channel, n - done);
            std::copy_n(constant.values + channel, run, room + done);
            done += run;
            channel = 0;
            continue;
        }
        const int64_t run = std::min(left, n - done);
        std::fill_n(room + done, run, constant.values[channel]);
        done += run;
        left = inner;
        channel = channel + 1 == channels ? 0 : channel + 1;
    }
    return {room, -1};
}

}  // namespace synfire
