#include "event_products.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "nonzero.h"
#include "threads.h"

namespace synfire {
namespace {

constexpr int64_t kRun = 256;               // rows whose lists are made before their sums
constexpr int64_t kMostEntries = 1 << 17;   // of a run, unless it gets short: lists stay in L2
constexpr int64_t kFewChannels = 48;        // pixels are then expanded many at a time
constexpr int64_t kMeasured = 64;           // runs of pixels that stand for all
constexpr double kThreadNanoseconds = 6e4;  // what starting one more thread must save

// Buffers that live on from call to call: fresh memory costs more than the sums of a small layer.
struct Workspace {
    std::vector<Lists> lists;
    std::vector<int32_t> events;
    std::vector<Piece> pieces;
    std::vector<uint8_t> counts;
    std::vector<char> tile;
    struct Row {
        int64_t tag = -1;
        std::vector<std::vector<uint16_t>> entries;  // one for each piece of the channels
        std::vector<std::vector<int32_t>> starts;
    };
    std::vector<Row> rows;
};

class Workspaces {
public:
    std::unique_ptr<Workspace> take() {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (free_.empty()) return std::make_unique<Workspace>();
        std::unique_ptr<Workspace> workspace = std::move(free_.back());
        free_.pop_back();
        return workspace;
    }
    void give_back(std::unique_ptr<Workspace> workspace) {
        const std::lock_guard<std::mutex> lock(mutex_);
        free_.push_back(std::move(workspace));
    }

private:
    std::mutex mutex_;
    std::vector<std::unique_ptr<Workspace>> free_;
};

Workspaces& workspaces() {
    static Workspaces* all = new Workspaces;  // outlives threads that end after main
    return *all;
}

// Neighbouring pixels, as bits or as counts in bytes.
struct Pixels {
    SpikeForm form;
    const uint8_t* data;
    int64_t step;  // bytes from one to the next

    const uint8_t* at(int64_t pixel, int64_t channel) const {
        return data + pixel * step + (form == SpikeForm::bits ? channel / 8 : channel);
    }
};

class Product {
public:
    Product(const Plan& plan, const char* slabs, const Spikes& x, const Geometry& geometry,
            const Finish& finish)
        : plan_(plan), slabs_(slabs), x_(x), at_(geometry), finish_(finish) {
        pixel_bytes_ = x.form == InputForm::bits    ? (x.channels + 7) / 8
                       : x.form == InputForm::bytes ? x.channels
                                                    : x.channels * 4;
        pieces_ = plan.channels
                      ? (plan.channels + plan.channels_in_block - 1) / plan.channels_in_block
                      : 1;
        pointwise_ =
            plan.kernel_height == 1 && plan.kernel_width == 1 && at_.pad_y == 0 && at_.pad_x == 0;
        rows_ = at_.batch * at_.out_height * at_.out_width;
        const int64_t images = kRun / std::max<int64_t>(1, at_.out_height * at_.out_width) + 2;
        const int64_t out_rows = kRun / std::max<int64_t>(1, at_.out_width) + 2;
        image_rows_ = std::max<int64_t>(
            1, std::min(images * at_.height,
                        (out_rows + images) * at_.stride_y + images * 2 * plan.kernel_height));
    }

    bool counts_only() const { return counts_only_; }
    int64_t rows() const { return rows_; }

    double density(Workspace& space) {
        const int64_t pixels = at_.batch * at_.height * at_.width;
        if (pixels * x_.channels == 0) return 0.0;
        // Whole pixels, evenly spread: at most kMeasured runs, of at least 1024 elements where
        // cheap.
        const int64_t some = std::max<int64_t>(1, 1024 / x_.channels);
        const int64_t runs = std::min(kMeasured, (pixels + some - 1) / some);
        int64_t events = 0, seen = 0;
        for (int64_t run = 0; run < runs; ++run) {
            const int64_t first = pixels * run / runs;
            const int64_t n = std::min(some, pixels * (run + 1) / runs - first);
            events += events_of(pixels_at(first, n, space), n);
            seen += n;
        }
        const double density =
            static_cast<double>(events) / static_cast<double>(seen * x_.channels);
        const double entries =
            density * x_.channels * plan_.kernel_height * plan_.kernel_width + 1.0;
        run_rows_ =
            std::clamp(static_cast<int64_t>(kMostEntries / entries) / 4 * 4, kRun / 8, kRun);
        return density;
    }

    // Rows [begin, end) of slabs [first, last).
    void work(int64_t begin, int64_t end, int64_t first, int64_t last) {
        std::unique_ptr<Workspace> space = workspaces().take();
        space->lists.resize(std::max(space->lists.size(), plan_.blocks.size()));
        space->tile.resize(kRun * 256);
        space->rows.resize(std::max(space->rows.size(), static_cast<size_t>(image_rows_)));
        for (auto& row : space->rows) row.tag = -1;
        while (begin < end) {
            const int64_t rows = make_lists(begin, std::min(run_rows_, end - begin), *space);
            Pass pass{&plan_, space->lists.data(), slabs_,  first, begin,
                      rows,   space->tile.data(),  &finish_};
            if (rows < kRowsAtOnce)
                sum_across(pass, last - first);
            else
                for (; pass.slab < last; ++pass.slab) sum_slab(pass);
            begin += rows;
        }
        workspaces().give_back(std::move(space));
    }

private:
    Pixels pixels_at(int64_t pixel, int64_t n, Workspace& space) {
        const uint8_t* from = static_cast<const uint8_t*>(x_.data) + pixel * pixel_bytes_;
        if (x_.form == InputForm::bits) return {SpikeForm::bits, from, pixel_bytes_};
        if (x_.form == InputForm::bytes) return {SpikeForm::bytes, from, pixel_bytes_};
        return pixels_of(reinterpret_cast<const float*>(from), n, space);
    }

    // Floats become bits where that is all that they hold.
    Pixels pixels_of(const float* from, int64_t n, Workspace& space) {
        const int64_t elements = n * x_.channels, step = (x_.channels + 7) / 8;
        if (static_cast<int64_t>(space.counts.size()) < elements + 8 * n + 64)
            space.counts.resize(elements + 8 * n + 64);
        uint8_t* to = space.counts.data();
        const bool joined = x_.channels % 8 == 0;  // pixels follow each other without a gap
        const int64_t runs = joined ? 1 : n, length = joined ? elements : x_.channels;
        bool binary = true;
        for (int64_t run = 0; run < runs && binary; ++run)
            binary = write_binary(from + run * length, length, to + run * step);
        if (binary) return {SpikeForm::bits, to, step};
        if (!counts_from_floats(from, elements, x_.scale, to)) counts_only_ = false;
        return {SpikeForm::bytes, to, x_.channels};
    }

    bool write_binary(const float* x, int64_t n, uint8_t* to) const {
        constexpr int64_t most = 1024;
        for (; n > 0; n -= most, x += most, to += most / 8) {
            uint64_t words[most / 64];
            const int64_t some = std::min(n, most);
            if (!binary_words(x, some, x_.scale, words)) return false;
            std::memcpy(to, words, (some + 7) / 8);
        }
        return true;
    }

    int64_t events_of(const Pixels& pixels, int64_t n) const {
        if (pixels.form == SpikeForm::bytes)
            return count_events(pixels.form, pixels.data, n * x_.channels);
        int64_t events = 0;
        for (int64_t pixel = 0; pixel < n; ++pixel)
            events += count_events(pixels.form, pixels.at(pixel, 0), x_.channels);
        return events;
    }

    int64_t make_lists(int64_t first, int64_t rows, Workspace& space) {
        return pointwise_ ? list_pixels(first, rows, space) : list_windows(first, rows, space);
    }

    int64_t input_pixel(int64_t row) const {
        const int64_t x = row % at_.out_width, rest = row / at_.out_width;
        const int64_t y = rest % at_.out_height, image = rest / at_.out_height;
        return (image * at_.height + y * at_.stride_y) * at_.width + x * at_.stride_x;
    }

    // One pixel gives one list a block: a matrix product, or a 1x1 convolution.
    int64_t list_pixels(int64_t first, int64_t rows, Workspace& space) {
        const bool neighbours = at_.stride_y == 1 && at_.stride_x == 1;
        if (!neighbours && x_.form == InputForm::floats) rows = 1;  // not what lies between them
        const Pixels pixels = pixels_at(neighbours ? first : input_pixel(first), rows, space);
        const auto at = [&](int64_t row, const Block& block) {
            const int64_t pixel = neighbours ? row : input_pixel(first + row) - input_pixel(first);
            return pixels.at(pixel, block.first_channel);
        };
        for (size_t b = 0; b < plan_.blocks.size(); ++b) {
            const Block& block = plan_.blocks[b];
            space.events.resize(rows);
            for (int64_t row = 0; row < rows; ++row)
                space.events[row] =
                    static_cast<int32_t>(count_events(pixels.form, at(row, block), block.channels));
            space.lists[b].fill(space.events, silent(block), [&](int64_t row, uint16_t* to) {
                return expand(pixels.form, at(row, block), block.channels, 0, to);
            });
        }
        return rows;
    }

    static uint16_t silent(const Block& block) {
        return static_cast<uint16_t>(block.lines() * kStep);
    }

    // Row y of an image as entries 64 * (x * channels + c) modulo 2^16, with where each pixel
    // starts.
    const Workspace::Row& image_row(int64_t image, int64_t y, Workspace& space) {
        const int64_t tag = image * at_.height + y;
        Workspace::Row& row = space.rows[tag % image_rows_];
        if (row.tag == tag) return row;
        row.tag = tag;
        row.entries.resize(pieces_);
        row.starts.resize(pieces_);
        const Pixels pixels = pixels_at(tag * at_.width, at_.width, space);
        const int64_t room = events_of(pixels, at_.width) + kListSlack;
        for (int64_t piece = 0; piece < pieces_; ++piece) {
            const int64_t first = piece * plan_.channels_in_block;
            const int64_t some = std::min(plan_.channels_in_block, plan_.channels - first);
            std::vector<uint16_t>& entries = row.entries[piece];
            std::vector<int32_t>& starts = row.starts[piece];
            if (static_cast<int64_t>(entries.size()) < room) entries.resize(room);
            starts.resize(at_.width + 1);
            if (pixels.form == SpikeForm::bytes && plan_.channels <= kFewChannels) {
                expand_pixels(pixels.data, at_.width, some, entries.data(), starts.data());
                break;
            }
            uint16_t* to = entries.data();
            for (int64_t x = 0; x < at_.width; ++x) {
                starts[x] = static_cast<int32_t>(to - entries.data());
                to = expand(pixels.form, pixels.at(x, first), some,
                            static_cast<uint16_t>(x * some * kStep), to);
            }
            starts[at_.width] = static_cast<int32_t>(to - entries.data());
        }
        return row;
    }

    // The windows of a run: for each, the pieces of input rows that lie under a block.
    int64_t list_windows(int64_t first, int64_t rows, Workspace& space) {
        for (size_t b = 0; b < plan_.blocks.size(); ++b) {
            const Block& block = plan_.blocks[b];
            const int64_t pieces = block.ky1 - block.ky0;
            space.events.assign(rows, 0);
            space.pieces.resize(rows * pieces);
            int64_t ox = first % at_.out_width, line = first / at_.out_width;
            for (int64_t row = 0; row < rows; ++line, ox = 0) {
                const int64_t end = std::min(rows, row + at_.out_width - ox);
                for (int64_t piece = 0; piece < pieces; ++piece)
                    list_line(line, ox, end - row, block, piece, row, space);
                row = end;
            }
            space.lists[b].fill(space.events, silent(block), [&](int64_t row, uint16_t* to) {
                return join(space.pieces.data() + row * pieces, pieces, to);
            });
        }
        return rows;
    }

    // The pieces of windows ox, ox + 1, ... in a line of outputs, from one row of places.
    void list_line(int64_t line, int64_t ox, int64_t n, const Block& block, int64_t piece,
                   int64_t row, Workspace& space) {
        const int64_t pieces = block.ky1 - block.ky0;
        Piece* to = space.pieces.data() + row * pieces + piece;
        const int64_t image = line / at_.out_height;
        const int64_t y = line % at_.out_height * at_.stride_y - at_.pad_y + block.ky0 + piece;
        if (y < 0 || y >= at_.height) {
            for (int64_t j = 0; j < n; ++j) to[j * pieces] = {};
            return;
        }
        const Workspace::Row& entries = image_row(image, y, space);
        const int64_t part = block.first_channel / plan_.channels_in_block;
        const uint16_t* all = entries.entries[part].data();
        const int32_t* starts = entries.starts[part].data();
        int64_t x = ox * at_.stride_x - at_.pad_x + block.kx0;
        const int64_t wide = block.kx1 - block.kx0;
        for (int64_t j = 0; j < n; ++j, x += at_.stride_x) {
            const int32_t from = starts[std::clamp<int64_t>(x, 0, at_.width)];
            const int32_t events = starts[std::clamp<int64_t>(x + wide, 0, at_.width)] - from;
            space.events[row + j] += events;
            to[j * pieces] = {all + from, events,
                              static_cast<uint16_t>((piece * wide - x) * block.channels * kStep)};
        }
    }

    const Plan& plan_;
    const char* slabs_;
    const Spikes& x_;
    const Geometry& at_;
    const Finish& finish_;
    int64_t pixel_bytes_, pieces_, rows_;
    int64_t image_rows_;  // that a run may touch: each has a place of its own
    int64_t run_rows_ = kRun;
    bool pointwise_;
    std::atomic<bool> counts_only_{true};
};

}  // namespace

Measured event_product(const Plan& plan, const char* slabs, const Spikes& x,
                       const Geometry& geometry, const Finish& finish, double limit, int threads) {
    Product product(plan, slabs, x, geometry, finish);
    std::unique_ptr<Workspace> space = workspaces().take();
    const double density = product.density(*space);
    workspaces().give_back(std::move(space));
    if (!product.counts_only()) return {Outcome::not_counts, density};
    if (density > limit) return {Outcome::too_dense, density};
    const int64_t rows = product.rows();
    if (rows == 0 || plan.outputs == 0) return {Outcome::done, density};

    const double inputs =
        static_cast<double>(plan.channels * plan.kernel_height * plan.kernel_width);
    const double nanoseconds =
        static_cast<double>(rows) * plan.slabs * (density * inputs * 0.4 + 8.0);
    threads = static_cast<int>(std::min<double>(threads, 1.0 + nanoseconds / kThreadNanoseconds));
    if (rows >= 16 * threads)
        in_ranges(rows, 4, threads,
                  [&](int64_t begin, int64_t end) { product.work(begin, end, 0, plan.slabs); });
    else
        in_ranges(plan.slabs, 1, threads,
                  [&](int64_t begin, int64_t end) { product.work(0, rows, begin, end); });
    return {product.counts_only() ? Outcome::done : Outcome::not_counts, density};
}

Measured event_density(const Spikes& x, int64_t pixels) {
    const Plan nothing(WeightKind::float32, 0, x.channels, 1, 1, 0);
    return event_product(nothing, nullptr, x, {pixels, 1, 1, 1, 1, 1, 1, 0, 0}, Finish{}, 1e300, 1);
}

}  // namespace synfire
