// Pages of memory that is about to be written for the first time.
#pragma once

#include <cstdint>

namespace synfire {

// Asks the system for large pages in a buffer that is new and large: a page fault costs more than
// to fill the page. Without effect where the system has none.
void prefer_large_pages(void* buffer, int64_t bytes);

}  // namespace synfire
