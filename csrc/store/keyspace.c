/* keyspace.c - see keyspace.h. Sections: routing; look-up; what writers do with what they found; deletion and expiry;
 * copies and renames; facts about a key. Whole databases are in database.c.
 */
#include "store/keyspace.h"

#include "shm/index.h"
#include "store/counter.h"
#include "store/hash.h"
#include "store/owner.h"
#include "store/table.h"

/* --- routing ------------------------------------------------------------------------------------------------------ */

static table *prefix_table(store *st, span name, size_t *colon) {
    const char *at = memchr(name.p, ':', name.n < TABLE_NAME_MAX + 1 ? name.n : TABLE_NAME_MAX + 1);
    if (!at) return NULL;
    *colon = (size_t)(at - name.p);
    return table_find(st, (span){name.p, *colon});
}

static uint64_t table_space(const store *st, const table *tb) { return ld8(SEG_AT(st->s, tb->descriptor + 8, uint64_t)); }

fr_status key_route(store *st, uint32_t db, span name, key *out, fr_error *err) {
    segment *s = st->s;
    if (FR_UNLIKELY(name.n > KEY_MAX)) return err->status = FR_KEYTOOLONG;
    if (FR_UNLIKELY(db > DATABASES)) return err->status = FR_DBRANGE;
    out->full = out->name = name;
    out->db = db;
    out->catalogue = ld8(&segment_super(s)->catalogue_version);
    if (FR_UNLIKELY(db == 0 && out->catalogue > 1)) {
        size_t colon;
        table *tb = name.n ? prefix_table(st, name, &colon) : NULL;
        if (tb) {
            out->name = (span){name.p + colon + 1, name.n - colon - 1};
            out->table = (int32_t)tb->number;
            out->space = (uint32_t)table_space(st, tb);
            out->hash = key_hash(s, 1 + tb->number, out->name);
            out->stripe = (uint32_t)out->hash & (tb->table_stripes - 1);
            return FR_OK;
        }
    }
    key_route_plain(s, out);
    return FR_OK;
}

bool row_key_current(const store *st, const key *k) {
    const table *tb = st->tables[k->table];
    bool same = ld8(&segment_super(st->s)->catalogue_version) == k->catalogue;
    return tb && tb->state == TABLE_LIVE && same && table_space(st, tb) == k->space;
}

/* --- look-up ------------------------------------------------------------------------------------------------------- */

static uint64_t root_at(const segment *s, uint32_t stripe) {
    return s->l.latches + stripe * s->l.stripe_bytes + offsetof(struct stripe, root);
}

static uint64_t stamp_at(const segment *s, const key *k) {
    return s->l.latches + k->stripe * s->l.stripe_bytes + offsetof(struct stripe, stamp) + (k->hash >> 32 & (STAMPS - 1)) * 8;
}

static bool expired(const txn *t, uint64_t expiry) { return FR_UNLIKELY(expiry != NO_EXPIRY) && expiry <= t->now_ms; }

/* A lock dies with its holders. */
static bool ownerless(txn *t, const head *h) {
    return FR_UNLIKELY(META_FLAGS(h->meta) & FLAG_OWNER) && META_KIND(h->meta) == KIND_STRING && !owners_live(t, h);
}

static bool stale_space(const segment *s, uint32_t space) {
    return space < s->g.spaces && SPACE_KIND(ld8(SEG_AT(s, s->l.spaces, uint64_t) + space)) == SPACE_STALE;
}

static void keep(found *f, const head *h, uint64_t slot_off, uint64_t slot) {
    f->exists = true;
    f->dead = 0; /* of a block met before: with a counter found after it, its slot must not be taken for the dead one's */
    f->kind = META_KIND(h->meta);
    f->slot_off = slot_off;
    f->slot = slot;
    f->off = h->off;
    f->version = h->version;
    f->meta = h->meta;
    f->expiry = h->expiry;
}

/* A dead block of this name: a writer may put its own in the slot. */
static void keep_dead(found *f, const head *h, uint64_t slot_off, uint64_t slot) {
    if (f->dead) return;
    keep(f, h, slot_off, slot);
    f->exists = false;
    f->dead = h->off;
}

/* Looks at one slot word with the key's tag. Sets f->exists when it is the key, alive; *version: of the block that was
 * looked at. */
static fr_status consider(store *st, txn *t, const key *k, uint64_t slot_off, uint64_t slot, found *f, uint64_t *version) {
    head h;
    bool row = SLOT_CLASS(slot) == CLASS_ROW;
    if (FR_UNLIKELY(row != (k->table != NO_TABLE))) {
        *version = segment_holds(t->s, SLOT_OFF(slot), 8) ? txn_ld(t, SLOT_OFF(slot)) : 0;
        return FR_OK;
    }
    fr_status status = FR_UNLIKELY(row) ? row_head(st, t, slot, &h) : block_head(t, slot, &h);
    if (FR_UNLIKELY(status != FR_OK)) return status;
    *version = h.version;
    uint32_t space = META_SPACE(h.meta);
    if (FR_UNLIKELY(row)) {
        const table *tb = st->tables[k->table];
        if (space != k->space || !tb || !row_named(st, t, &h, k->name)) return FR_OK;
        if (FR_UNLIKELY(!table_has_image(tb, h.off))) return txn_unbelievable(t, "a row lies outside its table");
    } else {
        bool counter = FR_UNLIKELY(space == SPACE_COUNTERS) && k->db == 0;
        if (FR_UNLIKELY(space != k->space && !counter && !stale_space(t->s, space))) return FR_OK;
        if (!block_named(t, &h, k->name)) return FR_OK;
        if (FR_UNLIKELY(counter != (META_KIND(h.meta) == KIND_COUNTER))) return txn_unbelievable(t, "a key's kind and its space differ");
        if (counter) {
            f->counter = h.off;
            bool live;
            int64_t value;
            status = counter_live(t, h.off, h.meta, &live, &value, &h.version);
            if (status != FR_OK || !live) return status;
            keep(f, &h, slot_off, slot);
            return FR_OK;
        }
    }
    if (FR_UNLIKELY(expired(t, h.expiry) || space != k->space || ownerless(t, &h))) keep_dead(f, &h, slot_off, slot);
    else keep(f, &h, slot_off, slot);
    return FR_OK;
}

/* The read set's entry for a key that was found: its block's version, or its counter's state word. */
static void saw_found(txn *t, const found *f) {
    if (f->kind == KIND_COUNTER) {
        uint64_t cell = f->off + block_body_at(f->meta);
        txn_saw(t, &t->in, f->slot_off, f->slot, cell + 8, f->version);
        return;
    }
    txn_saw(t, &t->in, f->slot_off, f->slot, f->off, f->version);
}

/* Which space the key's database or table has, as this transaction sees it: a flush or swap that is being applied counts
 * from its commit on, one of this very transaction at once, and what was routed before either counts no more. */
static void see_space(const store *st, txn *t, const key *k) {
    uint64_t at = offsetof(superblock, db) + k->db * 8;
    if (FR_UNLIKELY(k->table != NO_TABLE)) {
        if (!st->tables[k->table]) return;
        at = st->tables[k->table]->descriptor + TABLE_SPACE;
    }
    ((key *)k)->space = (uint32_t)txn_ld(t, at);
}

fr_status key_find(store *st, txn *t, const key *k, found *f) {
    probe p;
    uint64_t slot_off, slot, version, met = 0;
    f->exists = false;
    f->dead = f->counter = 0;
    f->kind = KIND_NONE;
    txn_enter(t, k->stripe);
    see_space(st, t, k);
    bool any = index_probe(t, root_at(t->s, k->stripe), INDEX_TAG(k->hash), &p);
    while (any && (slot = index_next(t, &p, &slot_off))) {
        fr_status status = consider(st, t, k, slot_off, slot, f, &version);
        if (FR_UNLIKELY(status != FR_OK)) return status;
        if (f->exists) {
            saw_found(t, f);
            return FR_OK;
        }
        met += txn_met(slot, (slot_off - p.quad) / 8, version);
    }
    f->version = txn_ld(t, stamp_at(t->s, k));
    if (t->mode != TXN_READ) return FR_OK;
    txn_saw_absent(t, any ? p.quad : 0, INDEX_TAG(k->hash), met);
    return guard_holds(t->s, &t->in) ? FR_OK : FR_RETRY; /* a split may have moved it out of sight */
}

static uint8_t *access_byte(const store *st, const key *k) {
    return st->s->base + st->s->l.access + (k->hash & (st->s->g.access_bytes - 1));
}

/* The access clock: 16-second units, 8 bits. */
static uint8_t access_now(uint64_t now_ms) { return (uint8_t)(now_ms >> 14); }

static void touch(store *st, txn *t, const key *k) {
    if (st->s->readonly) return;
    uint8_t now = access_now(t->now_ms), *byte = access_byte(st, k);
    if (*byte != now) touch1(byte, now); /* at most one store in 16 s a key: readers keep the line shared */
}

fr_status key_lookup(store *st, txn *t, const key *k, found *f) {
    fr_status status = key_find(st, t, k, f);
    if (FR_UNLIKELY(status != FR_OK)) return status;
    if (k->db != DB_SYSTEM) stat_add(t->s, f->exists ? STAT_keyspace_hits : STAT_keyspace_misses, 1);
    if (f->exists && FR_UNLIKELY(ld8(&segment_super(t->s)->shared_settings[SETTING_POLICY]))) touch(st, t, k);
    return FR_OK;
}

uint64_t found_version(txn *t, const found *f) {
    return FR_UNLIKELY(!f->exists && f->dead) ? txn_ld(t, f->dead) | 1 : f->version;
}

uint64_t found_wait_hash(const key *k, const found *f) {
    bool counter = f->exists && f->kind == KIND_COUNTER;
    return FR_UNLIKELY(counter) ? counter_wait_hash(f->off + block_body_at(f->meta)) : k->hash;
}

fr_status key_version(store *st, txn *t, const key *k, uint64_t *version, bool *exists) {
    found f;
    fr_status status = key_find(st, t, k, &f);
    *version = status == FR_OK ? found_version(t, &f) : 0;
    *exists = f.exists;
    return status;
}

/* --- writers ------------------------------------------------------------------------------------------------------- */

/* A flush, a swap or a declaration came between routing and latching. Any stripe held keeps the next one away, so the new
 * route is good; it goes into the caller's key, which is const only to say that nothing else of it changes. */
static fr_status reroute(store *st, txn *t, const key *k) {
    fr_status status = store_catalogue(st, t->err);
    return status == FR_OK ? key_route(st, k->db, k->full, (key *)k, t->err) : status;
}

fr_status key_write_begin(store *st, txn *t, const key *k, found *f) {
    if (FR_UNLIKELY(!key_current(st, k))) {
        int32_t table = k->table;
        fr_status status = reroute(st, t, k);
        if (status == FR_OK && k->table != table) status = FR_RETRY; /* a row is written otherwise: from the start */
        if (status != FR_OK) return status;
    }
    if (FR_UNLIKELY(!txn_holds(t, k->stripe))) {
        if (t->want) stripe_set_add(t->want, k->stripe);
        return FR_RELOCK;
    }
    fr_status status = key_find(st, t, k, f);
    if (status == FR_OK && FR_UNLIKELY(ld8(&segment_super(t->s)->shared_settings[SETTING_POLICY]))) touch(st, t, k);
    return status;
}

void key_count(txn *t, uint32_t stripe, uint32_t space, int64_t keys, int64_t expires) {
    uint64_t at = t->s->l.counts + ((uint64_t)stripe * t->s->g.spaces + space) * sizeof(space_count);
    if (FR_UNLIKELY(space >= t->s->g.spaces)) return; /* a block that names no space is counted nowhere */
    if (keys) txn_put_over(t, at, txn_ld(t, at) + (uint64_t)keys);
    if (expires) txn_put_over(t, at + 8, txn_ld(t, at + 8) + (uint64_t)expires);
}

void key_changed(txn *t, const key *k) { txn_wake(t, k->hash); }

static void stamp(txn *t, const key *k) { txn_put_over(t, stamp_at(t->s, k), txn_version(t, k->stripe)); }

/* Gives back what a slot word named; the word itself is the caller's. */
static fr_status release_found(store *st, txn *t, const key *k, const found *f) {
    if (f->kind != KIND_TREE) return block_release(t, k->stripe, f->slot);
    t->multi = true;
    return tree_detach(st, t, f->off, f->slot);
}

/* A live counter gives way to another kind: the cell dies, the slot stays the counter's. */
static fr_status bury_counter(store *st, txn *t, const key *k, const found *f) {
    return counter_write(st, t, k, f, NULL, true, NO_EXPIRY);
}

fr_status key_put(store *st, txn *t, const key *k, const found *f, uint64_t slot, uint64_t expiry) {
    if (FR_UNLIKELY(st->table_count && !f->exists)) {
        fr_status status = table_allows(st, t, k);
        if (status != FR_OK) return status;
    }
    key_changed(t, k);
    if ((f->exists && f->kind != KIND_COUNTER) || f->dead) {
        int had = f->expiry != NO_EXPIRY, has = expiry != NO_EXPIRY;
        if (FR_UNLIKELY(f->dead)) {
            key_count(t, k->stripe, META_SPACE(f->meta), -1, -had);
            key_count(t, k->stripe, k->space, 1, has);
        } else if (FR_UNLIKELY(had != has)) {
            key_count(t, k->stripe, k->space, 0, has - had);
        }
        txn_put(t, f->slot_off, slot);
        return release_found(st, t, k, f);
    }
    if (f->exists) {
        fr_status status = bury_counter(st, t, k, f);
        if (status != FR_OK) return status;
    }
    key_count(t, k->stripe, k->space, 1, expiry != NO_EXPIRY);
    touch(st, t, k); /* whatever the policy: OBJECT IDLETIME counts from here */
    return index_insert(t, root_at(t->s, k->stripe), k->stripe, slot);
}

/* --- deletion and expiry ------------------------------------------------------------------------------------------- */

fr_status key_unlink(store *st, txn *t, const key *k, const found *f) {
    stamp(t, k);
    key_changed(t, k);
    if (f->kind == KIND_COUNTER) return bury_counter(st, t, k, f);
    if (f->kind == KIND_ROW) return row_delete(st, t, k, f);
    key_count(t, k->stripe, META_SPACE(f->meta), -1, -(f->expiry != NO_EXPIRY));
    txn_put(t, f->slot_off, 0);
    return release_found(st, t, k, f);
}

fr_status key_delete(store *st, txn *t, const key *k, bool *existed) {
    found f;
    fr_status status = key_write_begin(st, t, k, &f);
    *existed = status == FR_OK && f.exists;
    return *existed ? key_unlink(st, t, k, &f) : status;
}

static bool expire_allowed(uint64_t present, uint64_t at, unsigned conditions) {
    uint64_t now = present == NO_EXPIRY ? UINT64_MAX : present;
    if (conditions & EXPIRE_NX && present != NO_EXPIRY) return false;
    if (conditions & EXPIRE_XX && present == NO_EXPIRY) return false;
    if (conditions & EXPIRE_GT && at <= now) return false;
    if (conditions & EXPIRE_LT && at >= now) return false;
    return true;
}

/* The body of a string or packed hash as parts of a draft; extents become one part each. */
static fr_status body_parts(txn *t, const head *h, span parts[EXTENTS_MAX], size_t *n) {
    uint64_t body = h->off + block_body_at(h->meta), left = META_VLEN(h->meta);
    *n = 1;
    if (!(META_FLAGS(h->meta) & FLAG_EXTENTS)) {
        parts[0] = (span){txn_bytes(t, body, left), left};
        return parts[0].p ? FR_OK : FR_NOSPACE;
    }
    return block_extents(t, body, left, parts, n);
}

/* Writes the same content as a new block of key k with this expiry. Strings and packed hashes. */
static fr_status clone(txn *t, const head *h, const key *k, uint64_t expiry, uint64_t *slot) {
    span parts[EXTENTS_MAX];
    draft d = {.kind = META_KIND(h->meta), .tag = INDEX_TAG(k->hash), .space = k->space, .expiry = expiry, .name = k->name};
    if (META_FLAGS(h->meta) & FLAG_INT) {
        d.is_int = true;
        d.i = (int64_t)txn_ld(t, h->off + block_body_at(h->meta));
    } else {
        fr_status status = body_parts(t, h, parts, &d.part_count);
        if (status != FR_OK) return status;
        d.parts = parts;
    }
    return block_write(t, k->stripe, &d, slot);
}

static head head_of(const found *f) { return (head){f->off, f->version, f->meta, f->expiry}; }

static fr_status set_expiry(store *st, txn *t, const key *k, const found *f, uint64_t at) {
    if (f->kind == KIND_COUNTER) return counter_write(st, t, k, f, NULL, false, at);
    if (f->kind == KIND_ROW) return row_expire(st, t, k, f, at);
    if (META_FLAGS(f->meta) & FLAG_EXPIRY) {
        key_count(t, k->stripe, k->space, 0, (at != NO_EXPIRY) - (f->expiry != NO_EXPIRY));
        block_change(t, k->stripe, f->off, f->off + BLOCK_EXPIRY, at);
        key_changed(t, k);
        return FR_OK;
    }
    uint64_t slot;
    head h = head_of(f);
    t->shrinks = true; /* a full segment must not keep keys from being given an end */
    fr_status status = clone(t, &h, k, at, &slot);
    return status == FR_OK ? key_put(st, t, k, f, slot, at) : status;
}

fr_status key_expire(store *st, txn *t, const key *k, uint64_t at_ms, unsigned conditions, bool *changed) {
    found f;
    *changed = false;
    fr_status status = key_write_begin(st, t, k, &f);
    if (status != FR_OK || !f.exists) return status;
    if (at_ms == NO_EXPIRY) {
        if (f.expiry == NO_EXPIRY) return FR_OK;
    } else if (!expire_allowed(f.expiry, at_ms, conditions)) {
        return FR_OK;
    }
    *changed = true;
    if (at_ms != NO_EXPIRY && at_ms <= t->now_ms) return key_unlink(st, t, k, &f);
    return set_expiry(st, t, k, &f, at_ms);
}

/* --- copies and renames -------------------------------------------------------------------------------------------- */

static fr_status row_mix(txn *t, const key *from, const key *to) {
    if (from->table == to->table) return FR_OK;
    return txn_fail(t, FR_ROWONLY, "a row can only be renamed or copied within its own table");
}

/* A tree's key block moves, its index and fields stay in their home stripe: one new small block. */
static fr_status move_tree(txn *t, const found *f, const key *to, uint64_t *slot) {
    uint64_t body = f->off + block_body_at(f->meta);
    tree_body copy = {txn_ld(t, body), txn_ld(t, body + 8), txn_ld(t, body + 16), 0};
    span part = {(const char *)&copy, sizeof copy};
    draft d = {.kind = KIND_TREE, .tag = INDEX_TAG(to->hash), .space = to->space, .expiry = f->expiry, .reserve_expiry = true,
               .name = to->name, .parts = &part, .part_count = 1};
    t->multi = true;
    return block_write(t, to->stripe, &d, slot);
}

/* What `f` holds, as a block of key `to`. moving: a tree is handed over, not copied. */
static fr_status duplicate(store *st, txn *t, const found *f, const key *to, bool moving, uint64_t *slot) {
    head h = head_of(f);
    if (f->kind == KIND_TREE) return moving ? move_tree(t, f, to, slot) : hash_copy(st, t, f, to, f->expiry, slot);
    if (f->kind != KIND_COUNTER) return clone(t, &h, to, f->expiry, slot);
    draft d = {.kind = KIND_STRING, .tag = INDEX_TAG(to->hash), .space = to->space, .expiry = f->expiry, .name = to->name,
               .is_int = true};
    fr_status status = counter_value(t, f, &d.i);
    return status == FR_OK ? block_write(t, to->stripe, &d, slot) : status;
}

/* Makes `to` hold what `f` holds. */
static fr_status put_duplicate(store *st, txn *t, const found *f, const key *to, const found *target, bool moving) {
    uint64_t slot;
    if (f->kind == KIND_ROW) return row_copy(st, t, f, to);
    fr_status status = duplicate(st, t, f, to, moving, &slot);
    return status == FR_OK ? key_put(st, t, to, target, slot, f->expiry) : status;
}

/* The source of a rename leaves; a tree that moved keeps everything but its old key block. */
static fr_status leave(store *st, txn *t, const key *k, const found *f) {
    if (f->kind != KIND_TREE) return key_unlink(st, t, k, f);
    stamp(t, k);
    key_changed(t, k);
    key_count(t, k->stripe, META_SPACE(f->meta), -1, -(f->expiry != NO_EXPIRY));
    txn_put(t, f->slot_off, 0);
    return block_release(t, k->stripe, f->slot);
}

static bool same_key(const key *a, const key *b) { return a->space == b->space && span_eq(a->name, b->name); }

/* An empty slot can have been filled, or a quad split, by the first half: look again. */
fr_status key_rename(store *st, txn *t, const key *from, const key *to, bool nx, bool *done) {
    found f, target;
    *done = false;
    fr_status status = key_write_begin(st, t, from, &f);
    if (status == FR_OK) status = key_write_begin(st, t, to, &target);
    if (status != FR_OK) return status;
    if (!f.exists) return FR_NOKEY;
    if (nx && target.exists) return FR_OK;
    *done = true;
    if (same_key(from, to)) return FR_OK;
    if ((status = row_mix(t, from, to)) != FR_OK) return status;
    t->multi = true;
    if (f.kind == KIND_ROW) { /* it leaves first, so that a full table has an image for it; its words stay until the commit */
        status = leave(st, t, from, &f);
        return status == FR_OK ? row_copy(st, t, &f, to) : status;
    }
    if ((status = put_duplicate(st, t, &f, to, &target, true)) != FR_OK) return status;
    if ((status = key_find(st, t, from, &f)) != FR_OK) return status;
    return leave(st, t, from, &f);
}

fr_status key_copy(store *st, txn *t, const key *from, const key *to, bool replace, bool *done) {
    found f, target;
    *done = false;
    fr_status status = key_write_begin(st, t, from, &f);
    if (status == FR_OK) status = key_write_begin(st, t, to, &target);
    if (status != FR_OK) return status;
    if (same_key(from, to)) return FR_SAMEKEY;
    if (!f.exists || (target.exists && !replace)) return FR_OK;
    if ((status = row_mix(t, from, to)) != FR_OK) return status;
    *done = true;
    return put_duplicate(st, t, &f, to, &target, false);
}

/* --- facts --------------------------------------------------------------------------------------------------------- */

const char *key_encoding(store *st, txn *t, const key *k, const found *f) {
    (void)k;
    switch (f->kind) {
    case KIND_COUNTER: return "int";
    case KIND_ROW: return "fridge-row";
    case KIND_HASH:
    case KIND_TREE: return hash_encoding(st, t, f);
    default: break;
    }
    if (META_FLAGS(f->meta) & FLAG_INT) return "int";
    return META_VLEN(f->meta) <= 44 ? "embstr" : "raw"; /* OBJ_ENCODING_EMBSTR_SIZE_LIMIT of Redis */
}

fr_status key_memory(store *st, txn *t, const key *k, const found *f, uint64_t *bytes) {
    const uint64_t slot_share = 16; /* a slot word at the index's usual load */
    if (f->kind == KIND_ROW) {
        *bytes = st->tables[k->table]->stride + slot_share;
        return FR_OK;
    }
    uint64_t n = block_bytes(t, f->off, f->meta);
    if (n == UINT64_MAX) return FR_RETRY;
    uint32_t size = heap_class_size(t->s, SLOT_CLASS(f->slot));
    *bytes = (size ? size : FR_ALIGN(n, t->s->g.page_size)) + slot_share;
    if (META_FLAGS(f->meta) & FLAG_EXTENTS) *bytes += FR_ALIGN((uint64_t)META_VLEN(f->meta), t->s->g.page_size);
    if (f->kind == KIND_TREE) *bytes += hash_memory(st, t, f);
    return FR_OK;
}

uint64_t key_idle(store *st, const key *k, uint64_t now_ms) {
    return (uint64_t)(uint8_t)(access_now(now_ms) - *access_byte(st, k)) * 16;
}

/* --- clocks -------------------------------------------------------------------------------------------------------- */

/* One offset for everybody, so that PEXPIRETIME gives back the millisecond that was set; stepped when the wall clock was. */
static uint64_t wall_offset(store *st) {
    uint64_t *cell = &segment_super(st->s)->wall_offset_ms;
    uint64_t seen = ld8(cell), now = clock_wall_ms() - clock_boot_ms();
    if (seen - now + 2 <= 4) return seen;
    if (!st->s->readonly) st8(cell, now);
    return now;
}

uint64_t keyspace_from_wall(store *st, uint64_t wall_ms) {
    int64_t at = (int64_t)(wall_ms - wall_offset(st));
    return at <= 0 ? 1 : (uint64_t)at;
}

uint64_t keyspace_to_wall(store *st, uint64_t boot_ms) { return boot_ms + wall_offset(st); }
