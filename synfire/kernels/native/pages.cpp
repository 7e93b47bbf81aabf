#include "pages.h"

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace synfire {

void prefer_large_pages(void* buffer, int64_t bytes) {
#if defined(__linux__)
    const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    const uintptr_t begin = (reinterpret_cast<uintptr_t>(buffer) + page - 1) / page * page;
    const uintptr_t end = (reinterpret_cast<uintptr_t>(buffer) + bytes) / page * page;
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
    (void)buffer, (void)bytes;
#endif
}

}  // namespace synfire
