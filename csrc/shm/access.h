/* access.h - the five ways to touch shared bytes, each with its memory order stated once.
 *
 *   ld8     acquire load of an aligned 8-byte word
 *   st8     release store of an aligned 8-byte word
 *   cas4    sequentially consistent compare-and-swap of a 32-bit latch word
 *   cas16   sequentially consistent compare-and-swap of a 16-byte counter cell
 *   touch1  relaxed store of one access byte
 *
 * fill() writes bytes into a block or page that nobody can reach yet; it is not one of the five, because until the
 * commit store no reader may believe what it wrote. A reader that holds a stale pointer to a block finds it out from the
 * block's version, which is stored after the fill and never repeats (txn.h, READER). fill_begin and fill_part are its
 * two halves, for what is put together from pieces: one store of the hook, however many pieces.
 *
 * A kill leaves a prefix of the compiled store order, and the page cache keeps every retired store: no flushes.
 * Builds with FRIDGE_HOOKS call fr_hook before each access; the crash and interleaving harnesses live on it.
 */
#ifndef FRIDGE_SHM_ACCESS_H
#define FRIDGE_SHM_ACCESS_H

#include "base.h"

enum access_kind { ACCESS_LD8, ACCESS_ST8, ACCESS_CAS4, ACCESS_CAS16, ACCESS_TOUCH1, ACCESS_FILL };

#ifdef FRIDGE_HOOKS
typedef void (*access_hook)(void *ctx, enum access_kind kind, const void *addr, size_t len);
extern FRIDGE_API _Thread_local access_hook fr_hook;
extern FRIDGE_API _Thread_local void *fr_hook_ctx;
#define ACCESS_HOOK(kind, addr, len)                                                                                   \
    do {                                                                                                               \
        if (fr_hook) fr_hook(fr_hook_ctx, (kind), (addr), (len));                                                      \
    } while (0)
#else
#define ACCESS_HOOK(kind, addr, len) ((void)0)
#endif

static inline uint64_t ld8(const uint64_t *p) {
    ACCESS_HOOK(ACCESS_LD8, p, 8);
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline void st8(uint64_t *p, uint64_t v) {
    ACCESS_HOOK(ACCESS_ST8, p, 8);
    __atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static inline uint32_t ld4(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }

static inline bool cas4(uint32_t *p, uint32_t *expected, uint32_t desired) {
    ACCESS_HOOK(ACCESS_CAS4, p, 4);
    return __atomic_compare_exchange_n(p, expected, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* A counter cell; 16-byte aligned wherever it lies. */
typedef struct cell16 {
    uint64_t value;
    uint64_t state;
} cell16;

static inline bool cas16(cell16 *p, cell16 *expected, cell16 desired) {
    ACCESS_HOOK(ACCESS_CAS16, p, 16);
#if defined(__x86_64__)
    bool ok;
    __asm__ __volatile__("lock cmpxchg16b %1"
                         : "=@ccz"(ok), "+m"(*p), "+a"(expected->value), "+d"(expected->state)
                         : "b"(desired.value), "c"(desired.state)
                         : "memory");
    return ok;
#elif defined(__aarch64__)
    /* One piece of assembly: a compiler may put accesses of its own between two, and those may take the reservation away
     * time after time. Baseline ARMv8.0: casp of 8.1 would need a look at the processor first. A pair that differs is
     * stored back, because only a store that succeeds says that it was read in one piece. */
    uint64_t v, s;
    uint32_t failed;
    __asm__ __volatile__("1: ldaxp %[v], %[s], %[cell]\n"
                         "   cmp %[v], %[value]\n"
                         "   ccmp %[s], %[state], #0, eq\n"
                         "   b.ne 2f\n"
                         "   stlxp %w[failed], %[new_value], %[new_state], %[cell]\n"
                         "   cbnz %w[failed], 1b\n"
                         "   b 3f\n"
                         "2: stlxp %w[failed], %[v], %[s], %[cell]\n"
                         "   cbnz %w[failed], 1b\n"
                         "3:"
                         : [v] "=&r"(v), [s] "=&r"(s), [failed] "=&r"(failed), [cell] "+Q"(*p)
                         : [value] "r"(expected->value), [state] "r"(expected->state), [new_value] "r"(desired.value),
                           [new_state] "r"(desired.state)
                         : "cc", "memory");
    if (v == expected->value && s == expected->state) return true;
    expected->value = v;
    expected->state = s;
    return false;
#else
#error "fridge needs a 16-byte compare-and-swap: x86-64 or ARM64"
#endif
}

static inline void touch1(uint8_t *p, uint8_t v) {
    ACCESS_HOOK(ACCESS_TOUCH1, p, 1);
    __atomic_store_n(p, v, __ATOMIC_RELAXED);
}

/* fill_begin announces that the n bytes at `to`, an unreachable place, are about to be written by fill_part. */
static inline void fill_begin(const void *to, size_t n) {
    (void)to, (void)n;
    ACCESS_HOOK(ACCESS_FILL, to, n);
}

/* fill_part copies n bytes into such a place. to is 8-aligned; bytes up to the next word may be overwritten. */
static inline void fill_part(void *to, const void *from, size_t n) {
#ifdef FRIDGE_SAN
    const char *f = from;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t w = 0;
        memcpy(&w, f + i, n - i < 8 ? n - i : 8);
        __atomic_store_n((uint64_t *)((char *)to + i), w, __ATOMIC_RELEASE);
    }
#else
    memmove(to, from, n); /* a copy within a damaged segment can overlap */
    __atomic_thread_fence(__ATOMIC_RELEASE);
#endif
}

static inline void fill(void *to, const void *from, size_t n) {
    fill_begin(to, n);
    fill_part(to, from, n);
}

static inline void copy_4_words(char *to, const uint64_t *from) {
    uint64_t a = ld8(from), b = ld8(from + 1), c = ld8(from + 2), d = ld8(from + 3);
    memcpy(to, &a, 8);
    memcpy(to + 8, &b, 8);
    memcpy(to + 16, &c, 8);
    memcpy(to + 24, &d, 8);
}

/* copy_out copies n bytes that may be changing underneath; the caller validates before it believes them.
 * from is 8-aligned. Words up to 256 bytes, memcpy with an acquire fence above (36 ns against 7 ns at 1 KiB). */
static inline void copy_out(void *to, const void *from, size_t n) {
#ifdef FRIDGE_SAN
    const size_t word_limit = SIZE_MAX;
#else
    const size_t word_limit = 256;
#endif
    if (n <= word_limit) {
        const uint64_t *words = (const uint64_t *)from, *fours = words + n / 32 * 4, *ones = words + n / 8;
        char *t = (char *)to;
        for (; words != fours; words += 4, t += 32) copy_4_words(t, words);
        for (; words != ones; words++, t += 8) {
            uint64_t w = ld8(words);
            memcpy(t, &w, 8);
        }
        if (n & 7) {
            uint64_t w = ld8(words);
            memcpy(t, &w, n & 7);
        }
        return;
    }
    ACCESS_HOOK(ACCESS_LD8, from, n);
    memcpy(to, from, n);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
}

/* memcmp(a, b, n) == 0 for a few words: a third of the call's instructions at 16 bytes. */
static inline bool same_words(const char *a, const char *b, size_t n) {
    uint64_t differs = 0, x, y;
    for (const char *end = a + (n & ~(size_t)7); a != end; a += 8, b += 8) {
        memcpy(&x, a, 8);
        memcpy(&y, b, 8);
        differs |= x ^ y;
    }
    return !differs && ((n & 7) == 0 || memcmp(a, b, n & 7) == 0);
}

/* same_bytes compares n bytes that may be changing underneath with bytes of our own. shared is 8-aligned and may be read
 * to the end of its last word. The fence keeps these loads before the caller's re-reads on ARM64. */
static inline bool same_bytes(const void *shared, const void *own, size_t n) {
#ifdef FRIDGE_SAN
    for (size_t i = 0; i < n; i += 8) {
        uint64_t w = __atomic_load_n((const uint64_t *)((const char *)shared + i), __ATOMIC_ACQUIRE);
        if (memcmp(&w, (const char *)own + i, n - i < 8 ? n - i : 8)) return false;
    }
    return true;
#else
    bool same = FR_LIKELY(n <= 64) ? same_words(shared, own, n) : memcmp(shared, own, n) == 0;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return same;
#endif
}

#endif
