/* store.h - an open segment with its keyspace: the handle that wire/ and the Python doors hold, and the two loops,
 * store_read and store_write, through which every operation runs.
 *
 * An operation is a function on a transaction. It may return FR_RETRY (a read lost its race), FR_RELOCK (it needs
 * latches named in t->want), FR_GROW (the pool is empty) or FR_RECLAIM (a table, or the list of spaces, is full of the dead); the loops make
 * room or take more latches and run it again from the start, so an operation must be repeatable: it changes nothing but
 * the transaction and what it hands out. Growth, trimming, reclaim of expired keys and eviction happen between the
 * attempts, never under a latch that the operation needs.
 *
 * Leaves out: commands, clocks (now is a parameter), and any output.
 */
#ifndef FRIDGE_STORE_STORE_H
#define FRIDGE_STORE_STORE_H

#include "shm/segment.h"
#include "shm/txn.h"

#define KEY_MAX 65536u            /* bytes of a key */
#define VALUE_MAX (512u << 20)    /* bytes of a value, whatever proto-max-bulk-len says */
#define NO_TABLE (-1)
#define NO_EXPIRY 0u              /* an expiry of 0 = lives for ever */

struct table; /* table.h: this process's copy of a table's declaration */

typedef struct store {
    segment *s;
    uint64_t catalogue_version;   /* of the copies below; 0 = never read */
    uint32_t table_count;
    struct table **tables;        /* by table number; NULL where none is declared */
    uint64_t deaths_seen;         /* room.c: recovered deaths for which all keys have been looked at */
    struct table *spare;          /* memory for one more of them, taken before a declaration is published, and */
    uint64_t spare_blank;         /* how many bytes of defaults fit behind it */
    char *aside;                  /* where store_open put a damaged file of another boot; NULL: it found none */
} store;

/* A key, routed: where it lives and under which hash. name is what the block holds: for a row without its table's prefix.
 * Valid while no FLUSHDB, SWAPDB or declaration happens; writers re-check under their latch (key_current, route.h). */
typedef struct key {
    span full;        /* as the user wrote it */
    span name;
    uint64_t hash;
    uint32_t space;   /* physical id that is hashed into the key */
    uint32_t stripe;
    int32_t table;    /* table number, or NO_TABLE */
    uint32_t db;      /* logical database */
    uint64_t catalogue; /* version of the catalogue that it was routed by */
} key;

/* store_open opens (creates) the segment and reads the catalogue. One of another boot is first taken into this one, or set
 * aside (boot_adopt). */
fr_status store_open(const char *path, const segment_options *o, store **out, bool *created, fr_error *err);
/* store_over wraps a segment that is already open (harnesses); store_close closes the segment too. */
fr_status store_over(segment *s, store **out, fr_error *err);
void store_close(store *st);

/* boot_adopt brings the file behind s, which another boot left (segment_other_boot), into this one: boot.c. It returns
 * FR_RETRY when the file is to be opened again: it has been taken over, by this process or another, or set aside, and
 * then *aside (malloc'd) is its new name. FR_READONLY, FR_ATTACHED, and what copying a file can fail with: it stays. */
fr_status boot_adopt(segment *s, char **aside, fr_error *err);

/* key_route finds a key's place. FR_KEYTOOLONG, FR_DBRANGE. */
fr_status key_route(store *st, uint32_t db, span name, key *out, fr_error *err);

typedef fr_status (*store_op)(store *st, txn *t, void *ctx);

/* store_read runs op optimistically, up to 64 times; then, if `stripes` is given and the segment is writable, under
 * their latches; else FR_BUSYREAD. */
fr_status store_read(store *st, uint64_t now_ms, const stripe_set *stripes, store_op op, void *ctx, fr_error *err);

/* store_write runs op under the latches of *stripes and commits. wait_ms: how long a live process that holds a latch is
 * waited for in all (UINT64_MAX: the setting latch-timeout); then FR_LATCHED and nothing changed. *stripes may grow. */
fr_status store_write(store *st, uint64_t now_ms, uint64_t wait_ms, stripe_set *stripes, store_op op, void *ctx,
                      fr_error *err);

/* store_all_stripes fills a set with every stripe: commands without fixed keys. */
void store_all_stripes(const store *st, stripe_set *set);

/* For the loops of store.c, in room.c: makes room after FR_GROW. Tries, from call to call of one operation: growing the
 * file, giving free slab pages back, reclaiming what is dead in the operation's stripes, then in all, evicting by the
 * policy. FR_OK: run the operation again; FR_OOM when nothing is left that may be evicted; FR_LATCHED. */
typedef struct room {
    unsigned step, rounds;
    uint64_t tries;       /* of this step */
    uint64_t page;        /* evict.c: where the sweep over the pages goes on */
    uint64_t lacking;     /* pages that the last attempt did not get */
    uint64_t unspilled;   /* of them, those of its journal, which may lie anywhere */
    bool swept, latched;  /* the sweep has begun; it met a latch that a live process holds */
} room;
fr_status room_make(store *st, room *r, uint64_t now_ms, uint64_t deadline_ms, const stripe_set *stripes, fr_error *err);
/* room_reclaim frees up to `limit` expired or flushed keys of a stripe, from *walk on (UINT64_MAX: the end). */
fr_status room_reclaim(store *st, uint32_t stripe, uint64_t now_ms, uint64_t deadline_ms, unsigned limit, uint64_t *walk,
                       unsigned *freed, fr_error *err);

/* room_reclaim_all frees every dead key, row and detached tree; returns how many. */
unsigned room_reclaim_all(store *st, uint64_t now_ms, uint64_t deadline_ms, fr_error *err);

/* store_tick is the housekeeper's step: reclaims up to `limit` expired or flushed keys, rows and detached objects and
 * recovers dead processes. Returns how many it reclaimed. */
unsigned store_tick(store *st, uint64_t now_ms, unsigned limit);

/* store_verify walks everything and counts; repairs bitmaps and counts from the slot words when `repair`. The report
 * says what was found in one line a finding. FR_DAMAGED when there was any finding that is not repaired. */
typedef struct verify_report {
    uint64_t keys, rows, counters, blocks, pages, findings;
    char first[FR_ERROR_TEXT]; /* the first finding in words */
} verify_report;
fr_status store_verify(store *st, bool repair, verify_report *out, fr_error *err);

#endif
