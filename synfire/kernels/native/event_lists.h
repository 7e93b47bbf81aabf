// From spikes to lists of events: the offsets of the lines that a row of inputs adds up, ascending;
// an input with a count of c stands in them c times.
#pragma once

#include <cstdint>
#include <vector>

#include "event_plan.h"

namespace synfire {

constexpr uint16_t kStep = kLineBytes / kEntryUnit;  // from one input's entry to the next one's
constexpr int64_t kListSlack = 64;     // entries that the functions below may write beyond an end
constexpr int64_t kRowsAtOnce = 4;     // rows whose sums are made together
constexpr int64_t kEntriesAtOnce = 4;  // lists are filled up to multiples of it

enum class SpikeForm { bits, bytes };  // packed bits, or a count in a byte

int64_t count_events(SpikeForm form, const uint8_t* x, int64_t n);

// Writes the entries of n inputs: 64 * (first + j) modulo 2^16 for input j; returns their end.
uint16_t* expand(SpikeForm form, const uint8_t* x, int64_t n, uint16_t first, uint16_t* to);

// The same for neighbouring pixels, counts in bytes; starts[p] is where the entries of pixel p
// begin, and starts[pixels] their end.
void expand_pixels(const uint8_t* x, int64_t pixels, int64_t channels, uint16_t* entries,
                   int32_t* starts);

// A part of a list that another list has, too, in other places of the kernel.
struct Piece {
    const uint16_t* from;
    int32_t n;
    uint16_t add;  // to each entry, modulo 2^16
};

// Writes the entries of some pieces one after the other; returns their end.
uint16_t* join(const Piece* pieces, int64_t n, uint16_t* to);

// float32 counts times ``scale`` as bytes. False where x holds anything else than counts of 0..255.
bool counts_from_floats(const float* x, int64_t n, float scale, uint8_t* counts);

// Rows of about equal length, which are summed together; each list is filled up to ``length``.
struct Group {
    int32_t row[kRowsAtOnce];    // the first one again where there are fewer
    int64_t start[kRowsAtOnce];  // in Lists::entries
    int64_t length;
    int rows;
};

// The lists of a run of rows for one block of lines.
class Lists {
public:
    // Plans the groups of rows with so many events; write(row, to) then writes each row once and
    // returns its end.
    template <typename Write>
    void fill(const std::vector<int32_t>& events, uint16_t silent_line, const Write& write) {
        plan_groups(events);
        for (const Group& group : groups_)
            for (int r = 0; r < group.rows; ++r) {
                uint16_t* begin = entries_.data() + group.start[r];
                uint16_t* end = begin + group.length;
                for (uint16_t* to = write(group.row[r], begin); to < end; ++to) *to = silent_line;
            }
    }
    const std::vector<Group>& groups() const { return groups_; }
    const uint16_t* entries() const { return entries_.data(); }

private:
    void plan_groups(const std::vector<int32_t>& events);

    std::vector<Group> groups_;
    std::vector<uint16_t> entries_;
    std::vector<int32_t> order_, starts_;
};

}  // namespace synfire
