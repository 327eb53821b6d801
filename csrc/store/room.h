/* room.h - what room.c (reclaim) and evict.c (eviction) share. For these two only; the loops of store.c see store.h. */
#ifndef FRIDGE_STORE_ROOM_H
#define FRIDGE_STORE_ROOM_H

#include "shm/index.h"
#include "store/keyspace.h"

static inline uint64_t room_root(const segment *s, uint32_t stripe) {
    return s->l.latches + stripe * s->l.stripe_bytes + offsetof(struct stripe, root);
}

static inline uint64_t room_space(const segment *s, uint32_t space) {
    return space < s->g.spaces ? ld8(SEG_AT(s, s->l.spaces, uint64_t) + space) : 0;
}

/* room_size: how long the segment is; a damaged header may say anything. */
static inline uint64_t room_size(segment *s) {
    uint64_t size = ld8(&segment_super(s)->size);
    return size < s->g.max_size ? size : s->g.max_size;
}

static inline span room_name(const txn *t, const head *h) {
    return (span){SEG_AT(t->s, h->off + block_name_at(h->meta), const char), META_KLEN(h->meta)};
}

/* room_unlink removes the key whose block a slot word in the index of `stripe` (held) names. */
fr_status room_unlink(store *st, txn *t, uint32_t stripe, const head *h, uint64_t slot_off, uint64_t slot);

/* room_for_one: may this transaction take one more deletion after `freed` of them? */
bool room_for_one(const txn *t, unsigned freed);

/* room_finish commits, or aborts unless status is FR_OK, and ends the transaction. */
fr_status room_finish(txn *t, fr_status status);

/* evict_keys gives up a few single keys of the stripes in `set`, evict_pages all keys in some pages of the segment. Both
 * return how many keys went; 0 under noeviction. evict_pages returns 0 only when nothing is left that may be evicted, or
 * r->latched. */
unsigned evict_keys(store *st, uint64_t now_ms, uint64_t deadline_ms, const stripe_set *set, fr_error *err);
unsigned evict_pages(store *st, room *r, uint64_t now_ms, uint64_t deadline_ms, fr_error *err);

#endif
