/* hot_sharded.c - hot.h's sharded counters: one count spread over several counters, for writers that would fight for one
 * cache line.
 *
 * FORMAT  Nothing of its own. The sharded counter `hits` of n shards is the hash `hits` {"shards": n} and the counters
 * `hits:0` .. `hits:(n-1)`, all in database 0. A writer adds to the shard of the CPU it runs on, so that two writers meet in
 * a cell only where they share a CPU's turn, or the shards are fewer than the CPUs. Cells of two shards are never in one
 * cache line: a counter's block takes 64 bytes at a multiple of 64, or 80 and more.
 *
 * Why the name is a hash, and not a counter that knows its sum: MGET and EXEC are isolated for every door, so a sum behind
 * GET would have to freeze all shards at each read, which is the very fight that sharding is to end. A hash under the name
 * refuses INCR and GET with WRONGTYPE instead of telling a part of the truth, and HGETALL says where the rest is. MGET of
 * the shards is a sum of one instant through any door.
 *
 * Invariants
 * 1. While the hash is there its field says how many shards every handle uses.
 * 2. The sum over the shards is the sum of all adds since the last reset: exact whenever no add is under way, and in
 *    between any value that counts each such add wholly or not at all.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "hot_try.h"
#include "store/hash.h"

#define SUFFIX_ROOM 4u /* ":63" and a NUL */

static const span shards_field = {"shards", 6};

/* --- names ---------------------------------------------------------------------------------------------------------- */

span hot_sharded_name(const hot_sharded *h, uint32_t i) {
    return (span){h->names + i * h->name_room, h->name.n + h->name_n[i]};
}

void hot_sharded_end(hot_sharded *h) {
    free(h->names);
    h->names = NULL;
}

static bool make_names(hot_sharded *h) {
    h->name_room = h->name.n + SUFFIX_ROOM;
    if (!(h->names = malloc(SHARDS_MAX * h->name_room))) return false;
    for (uint32_t i = 0; i < SHARDS_MAX; i++) {
        char *to = h->names + i * h->name_room;
        memcpy(to, h->name.p, h->name.n);
        h->name_n[i] = (uint8_t)snprintf(to + h->name.n, SUFFIX_ROOM, ":%u", i);
    }
    return true;
}

/* --- declaring ------------------------------------------------------------------------------------------------------ */

enum absence { CREATE, REFUSE, ACCEPT }; /* what to do when the hash is not there */

typedef struct declare_call {
    key k;
    enum absence absent;
    uint32_t shards;
    hot_sharded *h;             /* whose shards are opened, when `open` */
    bool open;
    uint64_t cell[SHARDS_MAX];
} declare_call;

static bool number_of(const value *v, int64_t *out) {
    if (v->kind != VALUE_INT) return v->kind == VALUE_BYTES && v->p && v->n <= 20 && text_int64((span){v->p, v->n}, out);
    *out = v->i;
    return true;
}

static fr_status attach(txn *t, declare_call *c, const value *v) {
    int64_t n;
    if (!number_of(v, &n) || n < 1 || n > SHARDS_MAX)
        return txn_fail(t, FR_ARGUMENT, "its field 'shards' is no number from 1 to %u", SHARDS_MAX);
    if (c->shards && c->shards != n)
        return txn_fail(t, FR_ARGUMENT, "it has %d shards, not %u; leave shards out to use what is there", (int)n, c->shards);
    c->shards = (uint32_t)n;
    return FR_OK;
}

static fr_status create(store *st, txn *t, declare_call *c) {
    char buf[VALUE_TEXT];
    size_t created;
    if (!c->shards) c->shards = SHARDS_STANDARD;
    field_value fv = {shards_field, {buf, int64_text(c->shards, buf)}};
    return hash_set(st, t, &c->k, &fv, 1, FIELD_NX, &created);
}

/* The hash says how many shards there are; another key of the name, or a hash that does not say so, is refused. */
static fr_status hash_op(store *st, txn *t, declare_call *c) {
    value v;
    bool there = false;
    uint64_t fields;
    if (c->k.table != NO_TABLE) return FR_ROWONLY;
    fr_status status = hash_length(st, t, &c->k, &fields);
    if (status == FR_OK && fields) status = hash_get(st, t, &c->k, shards_field, &v, &there);
    if (status == FR_WRONGTYPE) return txn_fail(t, FR_WRONGTYPE, "a key of this name holds something else");
    if (status != FR_OK) return status;
    if (there) return attach(t, c, &v);
    if (fields) return txn_fail(t, FR_WRONGTYPE, "a hash of this name has no field 'shards'");
    if (c->absent == REFUSE) return txn_fail(t, FR_NOKEY, "there is none, and the segment is read-only");
    return c->absent == CREATE ? create(st, t, c) : FR_OK;
}

static fr_status open_shard(store *st, txn *t, declare_call *c, uint32_t i) {
    key k;
    span name = hot_sharded_name(c->h, i);
    fr_status status = key_route(st, 0, name, &k, t->err);
    if (status == FR_OK) status = counter_open(st, t, &k, 0, &c->cell[i]);
    if (status == FR_WRONGTYPE || status == FR_NOTINT || status == FR_ROWONLY)
        return txn_fail(t, status, "its shard %u: a key of that name is no counter", i);
    return status;
}

static fr_status declare_op(store *st, txn *t, void *ctx) {
    declare_call *c = ctx;
    c->shards = c->h->shards;
    fr_status status = hash_op(st, t, c);
    for (uint32_t i = 0; c->open && i < c->shards && status == FR_OK; i++) status = open_shard(st, t, c, i);
    return status;
}

/* declare makes sure of the hash, and opens the shards too: all in one step, or nothing of it. */
static fr_status declare(store *st, hot_sharded *h, enum absence absent, bool open, bool wait, fr_error *err) {
    declare_call c = {.absent = absent, .h = h, .open = open};
    fr_status status = route(st, 0, h->name, &c.k, err);
    if (status != FR_OK) return status;
    status = absent == CREATE ? write_one(st, &c.k, clock_boot_ms(), declare_op, &c, wait, err)
                              : read_one(st, &c.k, clock_boot_ms(), declare_op, &c, wait, err);
    if (status != FR_OK) return status;
    h->shards = c.shards;
    if (open) memcpy(h->cell, c.cell, sizeof h->cell);
    return FR_OK;
}

fr_status hot_sharded_open(store *st, hot_sharded *h, bool wait, fr_error *err) {
    bool readonly = st->s->readonly;
    err->text[0] = 0;
    if (h->name.n + SUFFIX_ROOM > KEY_MAX) return FR_KEYTOOLONG;
    if (!h->names && !make_names(h)) return FR_OOM;
    return declare(st, h, readonly ? REFUSE : CREATE, !readonly, wait, err);
}

/* --- adding --------------------------------------------------------------------------------------------------------- */

/* Measured: 3.5 ns with glibc's restartable sequences. Process slots would be free, but a server's children that were
 * forked after it opened the handle have none before they write, and then all of them would add to its shard. */
uint32_t hot_sharded_here(const hot_sharded *h) {
    int cpu = sched_getcpu();
    return cpu < 0 ? 0 : (uint32_t)cpu % h->shards;
}

/* The shard was deleted, flushed, or is in a transaction's hands: then perhaps the hash was deleted too. */
fr_status hot_sharded_step(store *st, hot_sharded *h, uint32_t i, int64_t by, bool wait, fr_error *err) {
    hot_counter_call c = {.name = hot_sharded_name(h, i), .step = HOT_ADD, .v = by};
    fr_status status = declare(st, h, CREATE, false, wait, err);
    if (status == FR_OK) status = hot_counter_step(st, &c, wait, err);
    if (status == FR_OK && c.cell) h->cell[i] = c.cell;
    return status;
}

/* --- all of them ---------------------------------------------------------------------------------------------------- */

static fr_status read_shard(store *st, hot_sharded *h, uint32_t i, int64_t *out, bool wait, fr_error *err) {
    bool exists;
    fr_status status = h->cell[i] ? counter_get(st->s, h->cell[i], out) : FR_RETRY;
    if (FR_UNLIKELY(st->s->lost)) return FR_LOST;
    return FR_LIKELY(status != FR_RETRY) ? status : hot_counter_read(st, hot_sharded_name(h, i), out, &exists, wait, err);
}

fr_status hot_sharded_sum(store *st, hot_sharded *h, int64_t *out, bool wait, fr_error *err) {
    __int128 sum = 0;
    fr_status status = declare(st, h, ACCEPT, false, wait, err); /* nobody made it anew with other shards */
    if (status != FR_OK) return status;
    for (uint32_t i = 0; i < h->shards; i++) {
        int64_t one;
        status = read_shard(st, h, i, &one, wait, err);
        if (status != FR_OK) return status;
        sum += one;
    }
    *out = (int64_t)sum;
    if (sum == *out) return FR_OK;
    snprintf(err->text, sizeof err->text, "the sum of the shards is beyond a 64-bit integer: read them one by one");
    return FR_OVERFLOW;
}

fr_status hot_sharded_reset(store *st, hot_sharded *h, bool wait, fr_error *err) {
    fr_status status = declare(st, h, CREATE, false, wait, err);
    for (uint32_t i = 0; i < h->shards && status == FR_OK; i++) {
        hot_counter_call c = {.name = hot_sharded_name(h, i), .step = HOT_SET};
        status = counter_set(st->s, h->cell[i], 0);
        if (status == FR_RETRY) status = hot_counter_step(st, &c, wait, err);
        if (FR_UNLIKELY(st->s->lost)) status = FR_LOST;
    }
    return status;
}

/* The hash last: a handle that adds meanwhile revives a shard of a counter that is still declared. */
fr_status hot_sharded_delete(store *st, hot_sharded *h, bool *existed, bool wait, fr_error *err) {
    fr_status status = FR_OK;
    bool one;
    for (uint32_t i = 0; i < h->shards && status == FR_OK; i++) status = hot_delete(st, 0, hot_sharded_name(h, i), &one, wait, err);
    return status == FR_OK ? hot_delete(st, 0, h->name, existed, wait, err) : status;
}

fr_status hot_sharded_exists(store *st, hot_sharded *h, bool *exists, bool wait, fr_error *err) {
    return hot_exists(st, 0, h->name, exists, wait, err);
}
