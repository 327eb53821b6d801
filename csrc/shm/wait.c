/* wait.c - see wait.h. */
#include "shm/wait.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "shm/segment_private.h"

#define SLEEPER UINT64_C(1)
#define DOORBELLS (UINT64_MAX << 32)
#define MARKS (SLEEPER | DOORBELLS)
#define UNMARKED_MS 10u

static cell16 *entry_of(segment *s, uint64_t hash) {
    return SEG_AT(s, s->l.notify, cell16) + (hash & (s->g.notify_words - 1));
}

/* A key's bits of the filter; entry_of uses the hash's low ones. */
static uint64_t bits_of(uint64_t hash) {
    return UINT64_C(1) << (hash >> 58) | UINT64_C(1) << (hash >> 52 & 63) | UINT64_C(1) << (hash >> 46 & 63) |
           UINT64_C(1) << (hash >> 40 & 63);
}

static uint32_t *futex_of(uint64_t *word) { return (uint32_t *)word; } /* the low half: little-endian */

static void wake(uint32_t *futex, uint32_t bits) {
    syscall(SYS_futex, futex, FUTEX_WAKE_BITSET, INT32_MAX, NULL, NULL, bits);
}

/* --- sleepers ------------------------------------------------------------------------------------------------------- */

/* The entry's value with the mark set. */
static uint64_t mark(segment *s, uint64_t hash, uint64_t bit) {
    cell16 *entry = entry_of(s, hash);
    if (!ld8(&segment_super(s)->doorbells)) st8(&segment_super(s)->doorbells, 1);
    cell16 seen = {ld8(&entry->value), ld8(&entry->state)}, want;
    do {
        want = (cell16){seen.value | bit, (seen.value & MARKS ? seen.state : 0) | bits_of(hash)};
    } while (!cas16(entry, &seen, want));
    return want.value;
}

wait_point wait_mark(segment *s, uint64_t hash) {
    wait_point p = {futex_of(&entry_of(s, hash)->value), 0, WAIT_OTHERS, !s->readonly};
    if (p.marked) p.seen = (uint32_t)mark(s, hash, SLEEPER);
    return p;
}

static enum wait_result nap(uint64_t ms) {
    struct timespec ts = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    return nanosleep(&ts, NULL) == 0 ? WAIT_TIMEOUT : WAIT_INTERRUPTED;
}

static struct timespec from_now(uint64_t ms) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    uint64_t ns = (uint64_t)ts.tv_nsec + ms % 1000 * 1000000;
    return (struct timespec){ts.tv_sec + (time_t)(ms / 1000 + ns / 1000000000), (long)(ns % 1000000000)};
}

enum wait_result wait_sleep(const wait_point *p, uint64_t ms) {
    uint64_t limit = p->marked ? WAIT_SLICE_MS : UNMARKED_MS;
    if (ms > limit) ms = limit;
    if (!p->marked) return nap(ms);
    struct timespec ts = from_now(ms);
    if (syscall(SYS_futex, p->futex, FUTEX_WAIT_BITSET, p->seen, &ts, NULL, p->bits) == 0 || errno == EAGAIN) return WAIT_WOKEN;
    return errno == EINTR ? WAIT_INTERRUPTED : WAIT_TIMEOUT;
}

uint32_t wait_mark_doorbell(segment *s, uint64_t hash) {
    return (uint32_t)mark(s, hash, UINT64_C(1) << (32 + s->me->slot % 32)) >> 1;
}

bool wait_rung(segment *s, uint64_t hash, uint32_t count) { return (uint32_t)ld8(&entry_of(s, hash)->value) >> 1 != count; }

wait_point wait_doorbell(segment *s) {
    uint32_t *futex = futex_of(&segment_proc(s, s->me->slot)->doorbell);
    return (wait_point){futex, ld4(futex), WAIT_ALL, !s->readonly && s->me->word};
}

/* --- writers -------------------------------------------------------------------------------------------------------- */

static void ring_doorbell(segment *s, uint32_t slot) {
    proc *p = segment_proc(s, slot);
    if (STATE_KIND(ld8(&p->state)) != STATE_ATTACHED) return;
    uint32_t *futex = futex_of(&p->doorbell), seen = ld4(futex);
    while (!cas4(futex, &seen, seen + 1)) {
    }
    wake(futex, WAIT_ALL);
}

static void ring_doorbells(segment *s, uint32_t mask) {
    for (uint32_t slot = 1; slot < s->g.slots; slot++) {
        if (mask >> slot % 32 & 1) ring_doorbell(s, slot);
    }
}

static void ring(segment *s, cell16 *entry, uint32_t bits) {
    cell16 seen = {ld8(&entry->value), ld8(&entry->state)}, want;
    do {
        if (!(seen.value & MARKS)) return; /* another writer was quicker */
        uint64_t stays = bits != WAIT_ALL ? seen.value & SLEEPER : 0;
        want = (cell16){(uint32_t)((seen.value & ~SLEEPER) + 2) | stays, stays ? seen.state : 0};
    } while (!cas16(entry, &seen, want));
    if (seen.value & SLEEPER) wake(futex_of(&entry->value), bits);
    if (seen.value & DOORBELLS) ring_doorbells(s, (uint32_t)(seen.value >> 32));
}

void wait_ring_some(segment *s, uint64_t hash, uint32_t bits) {
    cell16 *entry = entry_of(s, hash);
    if (!(ld8(&entry->value) & MARKS)) return;
    if ((ld8(&entry->state) & bits_of(hash)) == bits_of(hash)) ring(s, entry, bits);
}

void wait_ring(segment *s, uint64_t hash) { wait_ring_some(s, hash, WAIT_ALL); }

void wait_ring_all(segment *s) {
    for (uint32_t i = 0; i < s->g.notify_words; i++) ring(s, entry_of(s, i), WAIT_ALL);
}

void wait_ring_doorbell(segment *s) {
    if (s->me->word && !s->readonly) ring_doorbell(s, s->me->slot);
}
