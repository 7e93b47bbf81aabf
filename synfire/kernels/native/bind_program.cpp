// Python face of programs. Buffers come as addresses; ../event_net answers for their sizes and
// keeps them.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <tuple>
#include <vector>

#include "program.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace synfire;

namespace {

template <typename T>
T* at(uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

using Sizes = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int, int, int, int>;

Geometry geometry(const Sizes& sizes) {
    return std::apply([](auto... size) { return Geometry{size...}; }, sizes);
}

// What follows the sums of a step.
struct After {
    Finish finish;
    Firing firing{};
    bool fires = false;
};

Rounding rounding_of(const std::string& name) {
    return name == "half_up"     ? Rounding::half_up
           : name == "half_even" ? Rounding::half_even
                                 : Rounding::floor;
}

Reset reset_of(const std::string& name) {
    return name == "soft" ? Reset::soft : name == "hard" ? Reset::hard : Reset::none;
}

}  // namespace

void bind_program(nb::module_& m) {
    nb::class_<DensePlan>(m, "DensePlan")
        .def("__init__",
             [](DensePlan* plan, int kind, int64_t outputs, int64_t channels, int kernel_height,
                int kernel_width) {
                 new (plan) DensePlan(static_cast<WeightKind>(kind), outputs, channels,
                                      kernel_height, kernel_width);
             })
        .def_prop_ro("bytes", &DensePlan::bytes)
        .def("pack", [](const DensePlan& plan, uintptr_t weight, uintptr_t slabs) {
            pack(plan, at<void>(weight), at<char>(slabs));
        });
    nb::class_<After>(m, "After")
        .def(
            "__init__",
            [](After* after, uintptr_t scale, uintptr_t bias, uintptr_t shortcut,
               uintptr_t potential) {
                new (after) After{{nullptr, at<float>(scale), at<float>(bias), at<float>(shortcut),
                                   at<float>(potential)}};
            },
            "scale"_a = 0, "bias"_a = 0, "shortcut"_a = 0, "potential"_a = 0)
        .def(
            "fire",
            [](After& after, uintptr_t decay, uintptr_t gain, uintptr_t threshold, bool unit,
               int levels, const std::string& rounding, const std::string& reset,
               double reset_value, uintptr_t v, uintptr_t counts) {
                after.firing = {at<float>(decay),
                                at<float>(gain),
                                at<float>(threshold),
                                unit,
                                levels,
                                rounding_of(rounding),
                                reset_of(reset),
                                static_cast<float>(reset_value),
                                at<float>(v),
                                at<uint8_t>(counts)};
                after.fires = true;
            },
            "decay"_a, "gain"_a, "threshold"_a, "unit"_a, "levels"_a, "rounding"_a, "reset"_a,
            "reset_value"_a, "v"_a, "counts"_a);
    nb::class_<Program>(m, "Program")
        .def(nb::init<>())
        .def(
            "product",
            [](Program& program, const Plan* plan, uintptr_t slabs, const DensePlan* dense,
               uintptr_t dense_slabs, int form, uintptr_t x, int64_t channels, const Sizes& sizes,
               const After& after, double limit) {
                program.add(ProductStep{plan,
                                        at<char>(slabs),
                                        dense,
                                        at<char>(dense_slabs),
                                        {static_cast<InputForm>(form), at<void>(x), channels},
                                        geometry(sizes),
                                        after.finish,
                                        after.firing,
                                        after.fires,
                                        limit});
            },
            "plan"_a.none(), "slabs"_a, "dense"_a.none(), "dense_slabs"_a, "form"_a, "x"_a,
            "channels"_a, "sizes"_a, "after"_a, "limit"_a, nb::keep_alive<1, 2>(),
            nb::keep_alive<1, 4>())
        .def(
            "point",
            [](Program& program, uintptr_t x, int64_t rows, int64_t channels, const After& after) {
                program.add(PointStep{at<float>(x), rows, channels, after.finish, after.firing,
                                      after.fires});
            },
            "x"_a, "rows"_a, "channels"_a, "after"_a)
        .def(
            "pool",
            [](Program& program, bool maximum, uintptr_t x, int64_t channels, const Sizes& sizes,
               int kernel_height, int kernel_width, double divisor, uintptr_t out) {
                program.add(PoolStep{maximum ? PoolKind::max : PoolKind::sum, at<float>(x),
                                     channels, geometry(sizes), kernel_height, kernel_width,
                                     static_cast<float>(divisor), at<float>(out)});
            },
            "maximum"_a, "x"_a, "channels"_a, "sizes"_a, "kernel_height"_a, "kernel_width"_a,
            "divisor"_a, "out"_a)
        .def(
            "depthwise",
            [](Program& program, uintptr_t weight, int kernel_height, int kernel_width, int form,
               uintptr_t x, int64_t channels, const Sizes& sizes, uintptr_t out) {
                program.add(DepthwiseStep{
                    {at<void>(weight), false, kernel_height, kernel_width, at<void>(out)},
                    {static_cast<InputForm>(form), at<void>(x), channels},
                    geometry(sizes)});
            },
            "weight"_a, "kernel_height"_a, "kernel_width"_a, "form"_a, "x"_a, "channels"_a,
            "sizes"_a, "out"_a)
        .def(
            "convert",
            [](Program& program, bool widen, uintptr_t x, int64_t n, uintptr_t out) {
                program.add(ConvertStep{widen, at<void>(x), n, at<void>(out)});
            },
            "widen"_a, "x"_a, "n"_a, "out"_a)
        .def(
            "copy",
            [](Program& program, uintptr_t x, int64_t rows, int64_t bytes, uintptr_t out,
               int64_t out_bytes) {
                program.add(CopyStep{at<char>(x), rows, bytes, at<char>(out), out_bytes});
            },
            "x"_a, "rows"_a, "bytes"_a, "out"_a, "out_bytes"_a)
        .def("run", nb::overload_cast<int>(&Program::run), "threads"_a,
             nb::call_guard<nb::gil_scoped_release>())
        .def("choices", [](const Program& program) {
            std::vector<std::tuple<double, double, bool>> choices;
            for (const ProductStep& step : program.products())
                choices.emplace_back(step.density, step.limit, step.was_dense);
            return choices;
        });
    m.def("can_multiply_dense",
          [](int kind) { return can_multiply(static_cast<WeightKind>(kind)); });
}
