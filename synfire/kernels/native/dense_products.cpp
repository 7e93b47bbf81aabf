#include "dense_products.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "dense_kernels.h"
#include "threads.h"

namespace synfire {
namespace {

constexpr int64_t kRun = 64;      // rows whose inputs are gathered before they are multiplied
constexpr int64_t kOutputs = 16;  // of a line
constexpr int64_t kSlack = 64;    // bytes beyond an input that may be read
constexpr double kThreadNanoseconds = 3e4;

int64_t inputs_in_line(WeightKind kind) { return kind == WeightKind::int8 ? 4 : 1; }

// Rows of images with their padding, in the type that is multiplied: floats or bytes.
class PaddedRows {
public:
    PaddedRows(const DensePlan& plan, const Spikes& x, const Geometry& geometry)
        : x_(x), at_(geometry), bytes_(plan.kind == WeightKind::int8) {
        const int64_t reach = (at_.out_width - 1) * at_.stride_x + plan.kernel_width;
        const int64_t columns = std::max(reach, at_.pad_x + at_.width);
        size_ = columns * x.channels * (bytes_ ? 1 : 4) + kSlack;
        const int64_t lines = kRun / std::max<int64_t>(1, at_.out_width) + 2;
        const int64_t images = kRun / std::max<int64_t>(1, at_.out_width * at_.out_height) + 2;
        const int64_t needed = (lines + images) * at_.stride_y + images * 2 * plan.kernel_height;
        tags_.assign(std::max<int64_t>(1, std::min(images * at_.height, needed)), -1);
        room_.reset(new char[(tags_.size() + 1) * size_]());
    }

    // Row y of an image; zeros outside of it.
    const char* get(int64_t image, int64_t y) {
        if (y < 0 || y >= at_.height) return room_.get() + tags_.size() * size_;
        const int64_t tag = image * at_.height + y;
        const int64_t place = tag % static_cast<int64_t>(tags_.size());
        char* row = room_.get() + place * size_;
        if (tags_[place] != tag) {
            tags_[place] = tag;
            fill(tag, row + at_.pad_x * x_.channels * (bytes_ ? 1 : 4));
        }
        return row;
    }

private:
    void fill(int64_t tag, char* to) const {
        const int64_t elements = at_.width * x_.channels;
        if (x_.form == InputForm::floats) {
            std::memcpy(to, static_cast<const float*>(x_.data) + tag * elements, elements * 4);
            return;
        }
        const uint8_t* counts = static_cast<const uint8_t*>(x_.data) + tag * elements;
        if (bytes_)
            std::memcpy(to, counts, elements);
        else
            floats_from_counts(counts, elements, reinterpret_cast<float*>(to));
    }

    const Spikes& x_;
    const Geometry& at_;
    bool bytes_;
    int64_t size_;
    std::vector<int64_t> tags_;
    std::unique_ptr<char[]> room_;
};

class Product {
public:
    Product(const DensePlan& plan, const char* slabs, const Spikes& x, const Geometry& geometry,
            const Finish& finish)
        : plan_(plan), slabs_(slabs), x_(x), at_(geometry), finish_(finish) {}

    void work(int64_t begin, int64_t end) {
        PaddedRows rows(plan_, x_, at_);
        const int group = dense_rows();
        std::vector<const void*> inputs(kRun / group * plan_.kernel_height * kDenseRows);
        for (; begin < end; begin += kRun) {
            const int64_t n = std::min(kRun, end - begin);
            gather(begin, n, group, rows, inputs.data());
            for (int64_t slab = 0; slab < plan_.slabs;) {
                const int some = dense_slabs(plan_.slabs - slab);
                multiply({&plan_, slabs_ + slab * plan_.slab_bytes, some, slab * kOutputs, begin, n,
                          inputs.data(), &finish_});
                slab += some;
            }
        }
    }

private:
    // For each row of a run the inputs under each row of the kernel; see DenseRun.
    void gather(int64_t first, int64_t n, int group, PaddedRows& rows, const void** inputs) {
        const int64_t step = x_.channels * (plan_.kind == WeightKind::int8 ? 1 : 4) * at_.stride_x;
        const int height = plan_.kernel_height, shift = group == 8 ? 3 : group == 4 ? 2 : 1;
        int64_t x = first % at_.out_width, line = first / at_.out_width;
        for (int64_t row = 0; row < n; ++line, x = 0) {
            const int64_t image = line / at_.out_height;
            const int64_t top = line % at_.out_height * at_.stride_y - at_.pad_y;
            const int64_t end = std::min(n, row + at_.out_width - x);
            for (int ky = 0; ky < height; ++ky) {
                const char* from = rows.get(image, top + ky) + x * step;
                for (int64_t j = row; j < end; ++j, from += step)
                    inputs[((j >> shift) * height + ky) * kDenseRows + (j & (group - 1))] = from;
            }
            row = end;
        }
        for (int64_t row = n; row & (group - 1); ++row)
            for (int ky = 0; ky < height; ++ky) {
                const void** of_group = inputs + ((row >> shift) * height + ky) * kDenseRows;
                of_group[row & (group - 1)] = of_group[0];
            }
    }

    const DensePlan& plan_;
    const char* slabs_;
    const Spikes& x_;
    const Geometry& at_;
    const Finish& finish_;
};

}  // namespace

DensePlan::DensePlan(WeightKind kind, int64_t outputs, int64_t channels, int kernel_height,
                     int kernel_width)
    : kind(kind),
      outputs(outputs),
      channels(channels),
      kernel_height(kernel_height),
      kernel_width(kernel_width),
      lines((kernel_width * channels + inputs_in_line(kind) - 1) / inputs_in_line(kind)),
      slabs((outputs + kOutputs - 1) / kOutputs),
      slab_bytes(kernel_height * lines * kLineBytes) {}

void pack(const DensePlan& plan, const void* weight, char* slabs) {
    const int64_t size = plan.kind == WeightKind::int8 ? 1 : 4, inside = inputs_in_line(plan.kind);
    const int64_t places = plan.kernel_height * plan.kernel_width;
    std::memset(slabs, 0, plan.bytes());
    for (int64_t output = 0; output < plan.outputs; ++output)
        for (int ky = 0; ky < plan.kernel_height; ++ky)
            for (int64_t j = 0; j < plan.kernel_width * plan.channels; ++j) {
                const int64_t kx = j / plan.channels, c = j % plan.channels;
                const int64_t from =
                    (output * plan.channels + c) * places + ky * plan.kernel_width + kx;
                char* line = slabs + output / kOutputs * plan.slab_bytes +
                             (ky * plan.lines + j / inside) * kLineBytes;
                std::memcpy(line + 4 * (output % kOutputs) + size * (j % inside),
                            static_cast<const char*>(weight) + from * size, size);
            }
}

void dense_product(const DensePlan& plan, const char* slabs, const Spikes& x,
                   const Geometry& geometry, const Finish& finish, int threads) {
    const int64_t rows = geometry.batch * geometry.out_height * geometry.out_width;
    if (rows == 0 || plan.outputs == 0) return;
    Product product(plan, slabs, x, geometry, finish);
    const double nanoseconds =
        static_cast<double>(rows * plan.slabs * plan.kernel_height * plan.lines) * 0.2;
    threads = static_cast<int>(std::min<double>(threads, 1.0 + nanoseconds / kThreadNanoseconds));
    in_ranges(rows, kDenseRows, threads,
              [&](int64_t begin, int64_t end) { product.work(begin, end); });
}

}  // namespace synfire
