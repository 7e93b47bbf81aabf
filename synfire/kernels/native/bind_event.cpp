// Python face of the event-driven products. Buffers come as addresses; ../event_linear answers for
// their sizes.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <tuple>

#include "event_depthwise.h"
#include "event_products.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace synfire;

namespace {

template <typename T>
T* at(uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

void pack_weight(const Plan& plan, uintptr_t weight, uintptr_t slabs) {
    nb::gil_scoped_release unlocked;
    pack(plan, at<void>(weight), at<char>(slabs));
}

// form, x, scale; batch, height, width, out_height, out_width, stride_y, stride_x, pad_y, pad_x
using Sizes = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int, int, int, int>;

Geometry geometry(const Sizes& sizes) {
    return std::apply([](auto... size) { return Geometry{size...}; }, sizes);
}

std::tuple<int, double> product(const Plan& plan, uintptr_t slabs, int form, uintptr_t x,
                                double scale, const Sizes& sizes, uintptr_t out, double limit,
                                int threads) {
    nb::gil_scoped_release unlocked;
    const Spikes spikes{static_cast<InputForm>(form), at<void>(x), plan.channels,
                        static_cast<float>(scale)};
    Finish finish{};
    finish.out = at<void>(out);
    const Measured measured =
        event_product(plan, at<char>(slabs), spikes, geometry(sizes), finish, limit, threads);
    return {static_cast<int>(measured.outcome), measured.density};
}

std::tuple<int, double> density(int form, uintptr_t x, double scale, int64_t pixels,
                                int64_t channels) {
    nb::gil_scoped_release unlocked;
    const Spikes spikes{static_cast<InputForm>(form), at<void>(x), channels,
                        static_cast<float>(scale)};
    const Measured measured = event_density(spikes, pixels);
    return {static_cast<int>(measured.outcome), measured.density};
}

bool depthwise_product(uintptr_t weight, bool integer, int kernel_height, int kernel_width,
                       int form, uintptr_t x, double scale, int64_t channels, const Sizes& sizes,
                       uintptr_t out, int threads) {
    nb::gil_scoped_release unlocked;
    const Depthwise task{at<void>(weight), integer, kernel_height, kernel_width, at<void>(out)};
    const Spikes spikes{static_cast<InputForm>(form), at<void>(x), channels,
                        static_cast<float>(scale)};
    return depthwise(task, spikes, geometry(sizes), threads);
}

}  // namespace

void bind_event(nb::module_& m) {
    nb::class_<Plan>(m, "EventPlan")
        .def("__init__",
             [](Plan* plan, int kind, int64_t outputs, int64_t channels, int kernel_height,
                int kernel_width, int64_t largest_weight) {
                 new (plan) Plan(static_cast<WeightKind>(kind), outputs, channels, kernel_height,
                                 kernel_width, largest_weight);
             })
        .def_prop_ro("bytes", &Plan::bytes)
        .def("pack", &pack_weight, "weight"_a, "slabs"_a)
        .def("product", &product, "slabs"_a, "form"_a, "x"_a, "scale"_a, "sizes"_a, "out"_a,
             "limit"_a, "threads"_a);
    m.def("event_density", &density, "form"_a, "x"_a, "scale"_a, "pixels"_a, "channels"_a);
    m.def("event_depthwise", &depthwise_product, "weight"_a, "integer"_a, "kernel_height"_a,
          "kernel_width"_a, "form"_a, "x"_a, "scale"_a, "channels"_a, "sizes"_a, "out"_a,
          "threads"_a);
}
