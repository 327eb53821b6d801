/* base.h - the words that every layer uses: spans, statuses, alignment, bit helpers.
 *
 * Includes libc only and knows nothing of segments, commands or Python. What it leaves out: any access to shared
 * bytes (shm/access.h) and any allocation.
 */
#ifndef FRIDGE_BASE_H
#define FRIDGE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FRIDGE_API __attribute__((visibility("default")))
#define FR_INLINE __attribute__((always_inline)) static inline
#define FR_LIKELY(x) __builtin_expect(!!(x), 1)
#define FR_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define FR_ALIGN(n, a) (((n) + (a) - 1) & ~((a) - 1))
#define FR_COUNTOF(a) (sizeof(a) / sizeof((a)[0]))

/* The only list of failures is status.def; FR_OK is 0. */
typedef enum fr_status {
#define X(name, prefix, message, pyexc) FR_##name,
#include "status.def"
#undef X
    FR_STATUS_COUNT
} fr_status;

/* Borrowed bytes: p may be NULL only when n is 0. */
typedef struct span {
    const char *p;
    size_t n;
} span;

#define SPAN_LIT(s) ((span){(s), sizeof(s) - 1})

static inline bool span_eq(span a, span b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }

/* A failure with its particulars. text is "" when the status's own message says everything. */
#define FR_ERROR_TEXT 512
typedef struct fr_error {
    fr_status status;
    char text[FR_ERROR_TEXT];
} fr_error;

#endif
