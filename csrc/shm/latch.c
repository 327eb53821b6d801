/* latch.c - the slow paths of a latch: spinning, waiting, probing, recovering. See latch.h for the invariants.
 *
 * Measured in the design: uncontended take and drop 9.4 ns together; a probe of the owner 340 ns, so it is done only
 * after a wait timed out. Waits double from 1 ms to 16 ms: long enough that a probe costs nothing, short enough that a
 * dead owner is noticed within one latch-timeout many times over.
 */
#include "shm/latch.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SPINS 60
#define WAIT_FIRST_NS 1000000L
#define WAIT_MAX_NS 16000000L
#define PATIENCE 8

static inline void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* False: nothing happened to the word in that time. Shared: other processes wake it. */
static bool futex_wait(uint32_t *word, uint32_t seen, long ns) {
    struct timespec ts = {0, ns};
    return syscall(SYS_futex, word, FUTEX_WAIT, seen, &ts, NULL, 0) == 0 || errno == EAGAIN;
}

void latch_wake(uint32_t *word) {
    uint32_t held = ld4(word);
    while (!cas4(word, &held, 0)) {
    }
    syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static bool spin(uint32_t *word, uint32_t mine) {
    for (int i = 0; i < SPINS; i++) {
        uint32_t seen = ld4(word);
        if (seen == 0 && cas4(word, &seen, mine)) return true;
        pause_cpu();
    }
    return false;
}

/* Marks the word as waited for, or takes it when it became free meanwhile. Returns true when it was taken: the mark
 * stays on, because others may sleep behind it. */
static bool mark_or_take(uint32_t *word, uint32_t mine, uint32_t *seen) {
    *seen = ld4(word);
    for (;;) {
        if (*seen == 0) {
            if (cas4(word, seen, mine | LATCH_WAITER)) return true;
        } else if (*seen & LATCH_WAITER) {
            return false;
        } else if (cas4(word, seen, *seen | LATCH_WAITER)) {
            *seen |= LATCH_WAITER;
            return false;
        }
    }
}

static fr_status name_owner(segment *s, uint32_t number, uint32_t word, fr_error *err) {
    const proc *p = SEG_AT(s, s->l.procs, proc) + (LATCH_SLOT(word) < s->g.slots ? LATCH_SLOT(word) : 0);
    snprintf(err->text, sizeof err->text,
             "a live process (slot %u, pid %llu) holds latch %u; nothing was changed, try again", LATCH_SLOT(word),
             (unsigned long long)ld8(&p->pid), number);
    stat_add(s, STAT_latch_timeouts, 1);
    return err->status = FR_LATCHED;
}

/* Recovers the owner if it is dead. FR_OK: look at the word again. */
static fr_status probe_owner(segment *s, uint32_t seen, uint64_t deadline_ms, fr_error *err) {
    uint32_t slot = LATCH_SLOT(seen), gen = LATCH_GEN(seen);
    if (slot == 0 || slot >= s->g.slots) {
        snprintf(err->text, sizeof err->text, "a latch names process slot %u of %u", slot, s->g.slots);
        return err->status = FR_DAMAGED;
    }
    if (segment_alive(s, slot, gen)) return FR_OK;
    fr_status status = segment_recover_slot(s, slot, gen, deadline_ms);
    if (status != FR_OK && status != FR_LATCHED) err->status = status;
    return status == FR_LATCHED ? FR_OK : status; /* somebody else is at it: keep waiting */
}

/* A latch that changes hands is busy, not stuck: the time-out is meant for one owner that stands still, so whoever loses race
 * after race (woken, but scheduled too late, on a machine with more runnable processes than processors) gets up to
 * PATIENCE of it. A sign of life is a wake-up, or another word, or another commit of the stripe. */
typedef struct patience {
    uint64_t span_ms, deadline_ms, end_ms, commits;
} patience;

static void sign_of_life(patience *p, uint64_t now, bool moved, uint64_t commits) {
    if (!moved && commits == p->commits) return;
    p->commits = commits;
    p->deadline_ms = now + p->span_ms < p->end_ms ? now + p->span_ms : p->end_ms;
}

fr_status latch_wait(segment *s, uint32_t number, uint64_t deadline_ms, fr_error *err) {
    stripe *st = segment_stripe(s, number);
    uint32_t *word = &st->latch, mine = s->me->word, seen;
    stat_add(s, STAT_latch_waits, 1);
    if (spin(word, mine)) return FR_OK;
    if (deadline_ms == 0) return err->status = FR_LATCHED; /* one try: the caller (hot.c) comes back and waits */
    uint64_t began = clock_boot_ms(), allowed = deadline_ms > began ? deadline_ms - began : 0;
    patience p = {allowed, deadline_ms, began + PATIENCE * allowed, ld8(&st->jstate)};
    for (long ns = WAIT_FIRST_NS;; ns = ns < WAIT_MAX_NS ? ns * 2 : ns) {
        if (mark_or_take(word, mine, &seen)) return FR_OK;
        uint64_t now = clock_boot_ms(), left = now < p.deadline_ms ? p.deadline_ms - now : 0;
        if (left > 0) {
            bool moved = futex_wait(word, seen, left < 16 && ns > (long)left * 1000000 ? (long)left * 1000000 : ns);
            sign_of_life(&p, clock_boot_ms(), moved || ld4(word) != seen, ld8(&st->jstate));
        }
        if (ld4(word) == seen) {
            fr_status status = probe_owner(s, seen, deadline_ms, err);
            if (status != FR_OK) return status;
        }
        if (left == 0) {
            uint32_t last = ld4(word);
            if (last == 0 && cas4(word, &last, mine | LATCH_WAITER)) return FR_OK;
            if (s->lost) return err->status = FR_LOST;
            return name_owner(s, number, last, err);
        }
    }
}
