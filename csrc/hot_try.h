/* hot_try.h - the two tries of hot.h, inlined into each of its calls: a transaction that never sleeps, then store_read or
 * store_write. Private to hot*.c.
 */
#ifndef FRIDGE_HOT_TRY_H
#define FRIDGE_HOT_TRY_H

#include "hot.h"

#define HOT FR_INLINE
#define SPINS 200 /* pauses: some microseconds, as long as a few commits take */

/* --- the two tries ------------------------------------------------------------------------------------------------ */

static inline void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static inline bool wait_for_latch(const uint32_t *latch) {
    for (int i = 0; i < SPINS; i++) {
        if (ld4(latch) == 0) return true;
        pause_cpu();
    }
    return false;
}

/* begin_quickly begins a write on one stripe without ever sleeping. */
HOT fr_status begin_quickly(txn *t, store *st, uint64_t now_ms, uint32_t number, fr_error *err) {
    const uint32_t *latch = &segment_stripe(st->s, number)->latch;
    txn_init(t, st->s, err);
    if (FR_UNLIKELY(ld4(latch) != 0) && !wait_for_latch(latch)) return FR_LATCHED;
    return txn_begin_one(t, now_ms, 0, number);
}

HOT fr_status finish(txn *t, fr_status status) {
    if (FR_LIKELY(status == FR_OK)) {
        status = txn_commit(t);
    } else {
        bool lost = t->s->lost;
        txn_abort(t);
        if (lost) status = FR_LOST;
    }
    txn_end(t);
    return t->err->status = status;
}

static inline fr_status write_waiting(store *st, const key *k, store_op op, void *ctx, fr_error *err) {
    stripe_set set;
    stripe_set_clear(&set);
    stripe_set_add(&set, k->stripe);
    return store_write(st, clock_boot_ms(), UINT64_MAX, &set, op, ctx, err);
}

/* write_one runs op under the latch of k's stripe: once, or for as long as it takes. */
HOT fr_status write_one(store *st, const key *k, uint64_t now_ms, store_op op, void *ctx, bool wait, fr_error *err) {
    txn t;
    if (FR_UNLIKELY(wait)) return write_waiting(st, k, op, ctx, err);
    fr_status status = begin_quickly(&t, st, now_ms, k->stripe, err);
    if (FR_UNLIKELY(status != FR_OK)) {
        txn_end(&t);
        return err->status = status;
    }
    return finish(&t, op(st, &t, ctx));
}

static inline fr_status read_waiting(store *st, const key *k, store_op op, void *ctx, fr_error *err) {
    stripe_set set;
    stripe_set_clear(&set);
    stripe_set_add(&set, k->stripe);
    return store_read(st, clock_boot_ms(), &set, op, ctx, err);
}

/* read_end validates. An error that was read counts only when the reads hold. */
HOT fr_status read_end(txn *t, fr_status status) {
    if (FR_UNLIKELY(status == FR_RETRY)) {
        t->mode = TXN_CLOSED;
        return FR_UNLIKELY(t->s->lost) ? FR_LOST : FR_RETRY;
    }
    fr_status held = txn_commit(t);
    return held == FR_OK ? status : held;
}

HOT fr_status read_one(store *st, const key *k, uint64_t now_ms, store_op op, void *ctx, bool wait, fr_error *err) {
    txn t;
    fr_status status = FR_RETRY;
    if (FR_UNLIKELY(wait)) return read_waiting(st, k, op, ctx, err);
    txn_init(&t, st->s, err);
    for (int i = 0; i < READ_ATTEMPTS; i++) {
        txn_begin_read(&t, now_ms);
        status = read_end(&t, op(st, &t, ctx));
        if (FR_LIKELY(status != FR_RETRY)) break;
        stat_add(st->s, STAT_read_retries, 1);
    }
    txn_end(&t);
    return err->status = status;
}

HOT bool has_policy(const store *st) { return ld8(&segment_super(st->s)->shared_settings[SETTING_POLICY]) != 0; }

HOT bool may_expire(const store *st, const key *k, uint32_t space) {
    segment *s = st->s;
    if (FR_UNLIKELY(space >= s->g.spaces)) return true; /* a damaged header */
    uint64_t at = s->l.counts + ((uint64_t)k->stripe * s->g.spaces + space) * sizeof(space_count) + offsetof(space_count, expires);
    return ld8(SEG_AT(s, at, uint64_t)) != 0;
}

/* The time for a call on k: 0, at which nothing is expired, while nothing of its stripe that could be k can expire, and
 * nobody asks for access times. */
HOT uint64_t now_for(const store *st, const key *k) {
    bool quiet = !may_expire(st, k, k->space) && (k->table != NO_TABLE || !may_expire(st, k, SPACE_COUNTERS));
    return FR_LIKELY(quiet && !has_policy(st)) ? 0 : clock_boot_ms();
}

static inline fr_status route(store *st, uint32_t db, span name, key *k, fr_error *err) {
    err->text[0] = 0;
    return key_route(st, db, name, k, err);
}

/* deliver hands a value to a sink. Inside a read the bytes are believed only once it was validated. */
HOT fr_status deliver(segment *s, hot_sink *sink, const value *v) {
    char buf[VALUE_TEXT];
    if (FR_LIKELY(v->kind == VALUE_BYTES)) {
        sink->to = sink->room(sink, sink->n = v->n);
        if (FR_UNLIKELY(sink->to == NULL)) return FR_OK;
        if (FR_UNLIKELY(!v->p || (uintptr_t)v->p & 7)) return value_copy(s, v, 0, v->n, sink->to);
        copy_out(sink->to, v->p, v->n);
        return FR_OK;
    }
    span text = value_text(v, buf);
    sink->to = sink->room(sink, sink->n = text.n);
    if (FR_LIKELY(sink->to != NULL)) memcpy(sink->to, text.p, text.n);
    return FR_OK;
}

#endif
