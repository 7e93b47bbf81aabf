// Python face of packing. Buffers come as addresses, which cost nothing to hand over; the caller,
// ../packing/native.py, answers for their sizes.
#include <nanobind/nanobind.h>

#include "packing.h"

namespace nb = nanobind;
using namespace nb::literals;
using synfire::Element;

namespace {

template <typename T>
T* at(uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

void pack_bits(uintptr_t x, int element, int64_t rows, int64_t n, uintptr_t packed, int threads) {
    nb::gil_scoped_release unlocked;
    synfire::pack_bits(at<void>(x), static_cast<Element>(element), {rows, n}, at<uint8_t>(packed),
                       threads);
}

bool pack_counts(uintptr_t x, int element, int64_t rows, int64_t n, double scale, uintptr_t packed,
                 int threads) {
    nb::gil_scoped_release unlocked;
    return synfire::pack_counts(at<void>(x), static_cast<Element>(element), {rows, n},
                                static_cast<float>(scale), at<uint8_t>(packed), threads);
}

void unpack(uintptr_t packed, int64_t rows, int64_t n, int in_a_byte, uintptr_t table, int size,
            uintptr_t out, int threads) {
    nb::gil_scoped_release unlocked;
    synfire::unpack(at<uint8_t>(packed), {rows, n}, in_a_byte, at<void>(table), size, at<void>(out),
                    threads);
}

int64_t popcount(uintptr_t packed, int64_t bytes, int threads) {
    nb::gil_scoped_release unlocked;
    return synfire::popcount(at<uint8_t>(packed), bytes, threads);
}

int64_t count_nonzero(uintptr_t x, int element, int64_t n, int threads) {
    nb::gil_scoped_release unlocked;
    return synfire::count_nonzero(at<void>(x), static_cast<Element>(element), n, threads);
}

}  // namespace

void bind_packing(nb::module_& m) {
    m.def("pack_bits", &pack_bits, "x"_a, "element"_a, "rows"_a, "n"_a, "packed"_a, "threads"_a);
    m.def("pack_counts", &pack_counts, "x"_a, "element"_a, "rows"_a, "n"_a, "scale"_a, "packed"_a,
          "threads"_a);
    m.def("unpack", &unpack, "packed"_a, "rows"_a, "n"_a, "in_a_byte"_a, "table"_a, "size"_a,
          "out"_a, "threads"_a);
    m.def("popcount", &popcount, "packed"_a, "bytes"_a, "threads"_a);
    m.def("count_nonzero", &count_nonzero, "x"_a, "element"_a, "n"_a, "threads"_a);
}
