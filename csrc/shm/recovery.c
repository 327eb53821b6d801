/* recovery.c - see recovery.h. */
#include "shm/recovery.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shm/journal.h"

static bool held_by(segment *s, uint32_t number, uint32_t word) {
    return (ld4(&segment_stripe(s, number)->latch) & ~LATCH_WAITER) == word;
}

static void release(segment *s, uint32_t number, uint32_t word) {
    uint32_t *latch = &segment_stripe(s, number)->latch, seen = ld4(latch);
    while ((seen & ~LATCH_WAITER) == word && !cas4(latch, &seen, 0)) {
    }
    syscall(SYS_futex, latch, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

fr_status recovery_run(segment *s, uint32_t slot, uint32_t gen) {
    uint32_t word = LATCH_WORD(slot, gen);
    for (uint32_t i = 0; i < s->g.stripes; i++) {
        if (!held_by(s, i, word)) continue;
        fr_status status = journal_recover(s, i);
        if (status != FR_OK) return status;
    }
    for (uint32_t i = 0; i < s->g.stripes; i++) {
        stripe *st = segment_stripe(s, i);
        if (held_by(s, i, word) && (ld8(&st->seq) & 1)) st8(&st->seq, ld8(&st->seq) + 1);
    }
    for (uint32_t i = s->l.latch_count; i-- > 0;) {
        if (held_by(s, i, word)) release(s, i, word);
    }
    return FR_OK;
}
