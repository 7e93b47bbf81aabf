// Weights of an event-driven product, cut so that the part in use stays in a near cache.
//
// A line is 64 bytes: what one input element adds to as many outputs as fit. Lines of neighbouring
// inputs form a block of at most kMostLines, closed by a line that adds nothing; the blocks of all
// inputs form a slab; slabs cover the outputs. An input is a channel at a place of the kernel; a
// matrix product is a kernel of one place.
#pragma once

#include <cstdint>
#include <vector>

namespace synfire {

enum class WeightKind { float32, int16, int8 };

constexpr int64_t kLineBytes = 64;
constexpr int64_t kEntryUnit =
    8;  // lists hold offsets in these units: a factor that addresses have
constexpr int64_t kMostLines = 1152;  // 72 KiB; offsets fit 16 bits. Shorter blocks, that stay in
                                      // L1, lose more by their more and shorter lists

// Channels first_channel + 0..channels-1 at the places [ky0, ky1) x [kx0, kx1) of the kernel, in
// this order: ky, kx, channel. More than one row of places only where each is a whole row, and more
// than one place only where each has all channels.
struct Block {
    int64_t first_channel, channels;
    int ky0, ky1, kx0, kx1;
    int64_t offset;  // in the slab, bytes

    int64_t lines() const { return (ky1 - ky0) * (kx1 - kx0) * channels; }
};

struct Plan {
    Plan(WeightKind kind, int64_t outputs, int64_t channels, int kernel_height, int kernel_width,
         int64_t largest_weight);

    WeightKind kind;
    int64_t outputs, channels;
    int kernel_height, kernel_width;
    int64_t columns;  // outputs in a line
    int64_t slabs, slab_bytes;
    int64_t channels_in_block;  // the same for all blocks but the last ones
    std::vector<Block> blocks;
    int64_t exact_events;  // so many events cannot overflow a 16-bit sum of int8 weights

    int64_t bytes() const { return slabs * slab_bytes; }
};

// weight [outputs][channels][kernel_height][kernel_width] of the plan's kind; slabs aligned to 64.
void pack(const Plan& plan, const void* weight, char* slabs);

}  // namespace synfire
