#include "event_plan.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace synfire {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t columns_of(WeightKind kind) {
    return kind == WeightKind::float32 ? 16 : kind == WeightKind::int16 ? 32 : 64;
}

std::vector<Block> cut(int64_t channels, int height, int width, int64_t& channels_in_block) {
    std::vector<Block> blocks;
    int64_t offset = 0;
    const auto add = [&](int64_t first, int64_t some, int ky0, int ky1, int kx0, int kx1) {
        blocks.push_back({first, some, ky0, ky1, kx0, kx1, offset});
        offset += (blocks.back().lines() + 1) * kLineBytes;
    };
    channels_in_block = channels;
    if (channels * width <= kMostLines) {  // whole rows of places
        const int64_t most =
            std::max<int64_t>(1, kMostLines / std::max<int64_t>(1, channels * width));
        const int64_t parts = ceil_div(height, most);
        for (int64_t part = 0; part < parts; ++part)
            add(0, channels, height * part / parts, height * (part + 1) / parts, 0, width);
        return blocks;
    }
    // Places one by one or in pairs; words of 64 channels stay whole.
    const int64_t pieces = ceil_div(channels, kMostLines);
    channels_in_block = pieces == 1 ? channels : ceil_div(ceil_div(channels, pieces), 64) * 64;
    const int64_t places = pieces == 1 ? kMostLines / channels : 1;
    for (int ky = 0; ky < height; ++ky)
        for (int64_t kx = 0; kx < width; kx += places)
            for (int64_t first = 0; first < channels; first += channels_in_block)
                add(first, std::min(channels_in_block, channels - first), ky, ky + 1, kx,
                    std::min<int64_t>(width, kx + places));
    return blocks;
}

// Where output ``column`` of a line lies. Integers share lanes of 16 or 32 bits, so that adding a
// whole line needs no widening; see sum_pairs in event_sums.cpp.
int64_t place(WeightKind kind, int64_t column) {
    if (kind == WeightKind::float32) return 4 * column;
    const int64_t lane = column % 16, part = column / 16;
    return kind == WeightKind::int16 ? 4 * lane + 2 * part
                                     : 4 * lane + 2 * (part & 1) + (part >> 1);
}

template <typename T>
T stored(T weight) {
    return weight;
}
template <>
int16_t stored(int16_t weight) {  // unsigned, with 0 in the middle
    return static_cast<int16_t>(weight ^ 0x8000);
}
template <>
int8_t stored(int8_t weight) {
    return static_cast<int8_t>(weight ^ 0x80);
}

template <typename T>
void pack_of(const Plan& plan, const T* weight, char* slabs) {
    const int64_t places = plan.kernel_height * plan.kernel_width;
    const auto put = [&](char* line, int64_t column, T value) {
        const T bits = stored(value);
        std::memcpy(line + place(plan.kind, column), &bits, sizeof bits);
    };
    for (int64_t slab = 0; slab < plan.slabs; ++slab) {
        for (const Block& block : plan.blocks) {
            char* line = slabs + slab * plan.slab_bytes + block.offset;
            for (int ky = block.ky0; ky < block.ky1; ++ky)
                for (int kx = block.kx0; kx < block.kx1; ++kx)
                    for (int64_t c = 0; c < block.channels; ++c, line += kLineBytes)
                        for (int64_t column = 0; column < plan.columns; ++column) {
                            const int64_t output = slab * plan.columns + column;
                            const int64_t from =
                                (output * plan.channels + block.first_channel + c) * places +
                                ky * plan.kernel_width + kx;
                            put(line, column, output < plan.outputs ? weight[from] : T{});
                        }
            for (int64_t column = 0; column < plan.columns; ++column) put(line, column, T{});
        }
    }
}

}  // namespace

Plan::Plan(WeightKind kind, int64_t outputs, int64_t channels, int kernel_height, int kernel_width,
           int64_t largest_weight)
    : kind(kind),
      outputs(outputs),
      channels(channels),
      kernel_height(kernel_height),
      kernel_width(kernel_width),
      columns(columns_of(kind)),
      slabs(ceil_div(outputs, columns_of(kind))) {
    if (outputs < 0 || channels < 0 || kernel_height < 1 || kernel_width < 1)
        throw std::invalid_argument(
            "a weight needs sizes of at least 0 and a kernel of at least 1");
    blocks = cut(channels, kernel_height, kernel_width, channels_in_block);
    slab_bytes =
        blocks.empty() ? 0 : blocks.back().offset + (blocks.back().lines() + 1) * kLineBytes;
    exact_events = std::max<int64_t>(4, 32767 / std::max<int64_t>(1, largest_weight) / 4 * 4);
}

void pack(const Plan& plan, const void* weight, char* slabs) {
    switch (plan.kind) {
        case WeightKind::float32:
            return pack_of(plan, static_cast<const float*>(weight), slabs);
        case WeightKind::int16:
            return pack_of(plan, static_cast<const int16_t*>(weight), slabs);
        case WeightKind::int8:
            return pack_of(plan, static_cast<const int8_t*>(weight), slabs);
    }
}

}  // namespace synfire
