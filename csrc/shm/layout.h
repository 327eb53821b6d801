/* layout.h - the segment file, byte by byte. Only shm/ and store/ see these structures.
 *
 *   offset            what                                                    who may change it
 *   0                 struct superblock, immutable half (checksummed)         nobody after creation
 *   512               struct superblock, mutable half                         each field says
 *   l.procs           struct proc [slots]                                     the slot's owner; recovery
 *   l.stats           uint64_t [1 + slots][stat_cells]; row 0 is the base     the slot's owner; a fold, journalled
 *   l.latches         struct stripe [stripes + POOL_LATCHES + 1]              each field says
 *   l.spaces          uint64_t [spaces]: what a space id stands for           a transaction holding every stripe
 *   l.counts          struct space_count [stripes][spaces]                    a transaction holding the stripe
 *   l.tables          uint64_t [tables]: offset of a table descriptor or 0    a transaction holding every stripe
 *   l.notify          cell16 [notify_words]: who waits for keys, hashed       wait.h says
 *   l.access          uint8_t [access_bytes]: hashed access bytes             any reader, by touch1
 *   l.poolmap         uint64_t [..]: one bit a page, 1 = in use               a transaction holding the page pool latch
 *   l.data            pages of page_size bytes up to max_size                 see heap.h
 *
 * Everything is little-endian and 64 bit; offsets count from the segment's first byte; 0 is "none".
 *
 * Invariants
 * 1. The immutable half never changes and its checksum holds; a process copies it at attach and believes only the copy.
 * 2. size <= max_size, a multiple of page_size, and every byte below it has been allocated in the file before size
 *    was raised to it. size never falls.
 * 3. A bit of poolmap below l.data's first page is always 1, and no page at or beyond size is in use.
 * 4. Every word below is written only by st8, cas4 or cas16 once the file has its name.
 */
#ifndef FRIDGE_SHM_LAYOUT_H
#define FRIDGE_SHM_LAYOUT_H

#include "base.h"
#include "shm/access.h"

#define LAYOUT_MAGIC UINT64_C(0x0045474449524600) /* "\0FRIDGE\0" */
#define LAYOUT_VERSION 3u
#define LAYOUT_MUTABLE 512u /* offset of the mutable half */

#define DATABASES 16u   /* what SELECT knows */
#define DB_SYSTEM 16u   /* one more logical database, for settings and the like: no command can name it */
#define POOL_LATCHES 8u /* row pools of tables share these, by table number */
#define SIZE_CLASSES 32u
#define CLASS_CODES 64u /* values of the class field of a slot word */
#define CLASS_UNITS 128u
#define CLASS_RUN 63u   /* class of a block that is a run of pages: its length is in its own header */
#define CLASS_ROW 62u   /* class of a row image: its length is its table's stride */
#define PAGE_HEAD 64u   /* bytes of a slab page before its blocks */
#define STAMPS 16u  /* last-delete stamps in a stripe */
#define INTENTS 16u /* counters that a transaction may freeze for each stripe that it holds */

/* Creation parameters. Everything about a segment's shape follows from these numbers. */
typedef struct geometry {
    uint64_t max_size;        /* bytes the file may grow to */
    uint32_t page_size;       /* 512, 1024, 2048 or 4096 */
    uint32_t stripes;         /* power of two, 1..4096 */
    uint32_t slots;           /* processes that may be attached at once, 2..4095; slot 0 is nobody */
    uint32_t journal_records; /* redo records that fit a stripe before it spills, 12..1024: a delete fits */
    uint32_t spaces;          /* space ids, 24..1024 */
    uint32_t tables;          /* typed tables, 1..1024 */
    uint32_t notify_words;    /* power of two: notify entries */
    uint32_t access_bytes;    /* power of two */
    uint32_t stat_cells;      /* statistics cells a process, at least those of stats.def */
    uint32_t reserved;
} geometry;

/* Offsets that follow from a geometry (layout_compute). */
typedef struct layout {
    uint64_t procs, stats, latches, spaces, counts, tables, notify, access, poolmap, data;
    uint64_t stripe_bytes; /* stride of the latch array */
    uint64_t pages;        /* max_size / page_size */
    uint32_t latch_count;  /* stripes + POOL_LATCHES + 1 */
    /* Size classes of slab blocks, as tables because divisions cost more than the rest of an allocation. */
    uint16_t class_size[CLASS_CODES];    /* bytes of a block, 0 = no such class */
    uint8_t class_blocks[CLASS_CODES];   /* blocks of a page */
    uint32_t class_inverse[CLASS_CODES]; /* 2^20 / size, rounded up: offset * inverse >> 20 = offset / size */
    uint8_t class_of[CLASS_UNITS];       /* smallest class for n bytes, by (n + 15) / 16; CLASS_RUN beyond the last */
} layout;

typedef struct superblock {
    /* immutable */
    uint64_t magic;
    uint32_t version;
    uint32_t layout_hash; /* of the structure sizes below: two builds that differ refuse each other */
    geometry g;
    uint8_t uuid[16];
    uint8_t boot_id[16];
    uint64_t hash_secret[4]; /* keys the key hash */
    uint64_t created_ms;     /* wall clock */
    uint64_t lock_ino;       /* of the lock file beside it */
    uint32_t creator_uid;
    uint32_t reserved0;
    uint64_t checksum; /* of everything above */
    uint8_t pad0[LAYOUT_MUTABLE - 8 * 2 - sizeof(geometry) - 16 * 2 - 8 * 4 - 8 * 2 - 8 - 8];
    /* mutable, at offset 512 */
    uint64_t size;              /* bytes allocated; raised under the page pool latch */
    uint64_t damaged;           /* 0, or 1 + the stripe that was found damaged, or DAMAGE_FORGIVEN; st8 by the finder */
    uint64_t wall_offset_ms;    /* wall clock = boot clock + this; stepped only when off by more than 2 ms */
    uint64_t db[DATABASES + 1]; /* logical database -> space id; under every stripe */
    uint64_t pool_used;         /* pages in use; under the page pool latch */
    uint64_t catalogue_version; /* changes whenever a table is declared or dropped; under every stripe */
    uint64_t settings_version;  /* changes with every CONFIG SET; under DB_SYSTEM's stripe */
    uint64_t shared_settings[8]; /* SETTING_*: what the engine itself obeys; plain words */
    uint64_t doorbells;         /* 1 once anybody has waited: until then writers skip the notify entries */
    uint64_t counter_epoch;     /* counters of another epoch are dead: FLUSHDB 0 steps it; under every stripe */
    uint8_t pad1[1024 - LAYOUT_MUTABLE - 8 * (3 + DATABASES + 1 + 3 + 8 + 2)];
} superblock;
_Static_assert(offsetof(superblock, size) == LAYOUT_MUTABLE, "the mutable half starts at 512");
_Static_assert(sizeof(superblock) == 1024, "superblock is 1 KiB");

/* In superblock.damaged while a repair is under way: a journal that is not believable is dropped instead of reported. */
#define DAMAGE_FORGIVEN UINT64_MAX

/* Indices of superblock.shared_settings. */
enum shared_setting {
    SETTING_POLICY,         /* 0 noeviction, 1 allkeys-lru, 2 volatile-lru, 3 volatile-ttl */
    SETTING_SAMPLES,        /* maxmemory-samples */
    SETTING_MAX_VALUE,      /* proto-max-bulk-len, bytes */
    SETTING_LATCH_TIMEOUT,  /* ms */
    SETTING_MAXMEMORY,      /* bytes, 0 = the segment's size */
};

/* A process. One 128-byte entry a slot; slot 0 is never used. */
typedef struct proc {
    uint64_t state;      /* gen:19 << 2 | {0 free, 1 registering, 2 attached, 3 folding}; st8 by owner or recoverer */
    uint64_t pid;        /* in its own namespace */
    uint64_t start_time; /* clock ticks since boot, from /proc/self/stat */
    uint64_t attached_ms;/* boot clock */
    uint64_t pidns;      /* inode of its PID namespace */
    uint64_t latched;    /* 0, or the boot-clock ms since which it holds a latch it had to wait for; diagnostics */
    char name[48];       /* NUL-padded; open(name=) */
    char host[24];       /* NUL-padded; hostname, in containers the container id's head */
    uint64_t doorbell;   /* low half: a futex that is stepped when a key changed that this process waits for; wait.h */
} proc;
_Static_assert(sizeof(proc) == 128, "proc is two cache lines");

/* A stripe, and every other latch (row pools, the page pool): one array, so that recovery is one loop. */
typedef struct stripe {
    /* writers' line */
    uint32_t latch;  /* latch.h; cas4 by anybody */
    uint32_t pad;
    uint64_t clock;  /* last version handed out, even; under the latch, before the version is used */
    uint64_t jstate; /* txnid:48 | n:16; n > 0 = committed, being applied. THE commit word; under the latch */
    uint64_t jspill; /* first spill page's offset when n is JOURNAL_SPILLED; under the latch, before the commit */
    uint64_t jcount; /* records in the spill pages; likewise */
    uint64_t intents;/* counter cells frozen by the transaction in flight; under the latch */
    uint64_t trash;  /* first detached object awaiting reclaim; journalled */
    uint64_t sweep;  /* where the expiry sample goes on: a hint */
    /* readers' line: changes only with the shape of the index or a multi-word commit */
    uint64_t seq;   /* odd while a commit of several visible words is applied; under the latch */
    uint64_t coord; /* stripe whose journal an odd seq refers to; under the latch, before seq */
    uint64_t root;  /* the index: index.h; journalled */
    uint64_t pad2[5];
    uint64_t partial[SIZE_CLASSES]; /* first page with a free block, per class; journalled */
    uint64_t stamp[STAMPS];         /* version of the last delete in this hash bucket; journalled */
    uint64_t intent[INTENTS];       /* offsets of frozen counter cells; under the latch, before the freeze */
    struct record {
        uint64_t target; /* offset of the word | RECORD_* */
        uint64_t value;  /* the word's new value, absolute, so that a replay is idempotent */
    } journal[];
} stripe;
_Static_assert(offsetof(stripe, seq) == 64, "readers' line");
_Static_assert(offsetof(stripe, partial) == 128, "cold fields start on their own line");
_Static_assert(offsetof(stripe, journal) % 64 == 0, "journal starts on its own line");

#define JOURNAL_SPILLED 0xffffu
#define RECORD_KIND 7u /* low bits of record.target */
enum record_kind {
    RECORD_WORD = 0,     /* store the value */
    RECORD_VERSION = 1,  /* a version word: odd before the other words, the (even) value after them */
    RECORD_CELL = 2,     /* state word of a counter cell: stored last, still frozen */
};

/* Per stripe and space. Two words; journalled. */
typedef struct space_count {
    uint64_t keys;    /* keys whose blocks name this space, expired ones not yet reclaimed included */
    uint64_t expires; /* of those, keys with an expiry */
} space_count;

/* What a space id stands for: kind in the low 3 bits, number above. Ids 1..17 begin as databases 0..16, id 18 holds the
 * counters of database 0 for ever, id 0 is nobody's. */
#define SPACE_COUNTERS 18u
enum space_kind {
    SPACE_FREE = 0,
    SPACE_DB = 1,    /* number = logical database */
    SPACE_TABLE = 2, /* number = table */
    SPACE_STALE = 3, /* flushed or dropped: its keys are absent and await reclaim */
    SPACE_COUNTER = 4,
};
#define SPACE_MAKE(kind, number) ((uint64_t)(number) << 3 | (kind))
#define SPACE_KIND(word) ((unsigned)((word) & 7))
#define SPACE_NUMBER(word) ((uint32_t)((word) >> 3))

/* layout_compute works out the offsets. Returns FR_ARGUMENT with err->text when g makes no segment. */
fr_status layout_compute(const geometry *g, layout *out, fr_error *err);

/* layout_default is the geometry for a segment of size bytes as fridge creates it; layout_test is the smallest one,
 * 32 KiB with 2 stripes, that the enumeration harnesses use. */
geometry layout_default(uint64_t max_size);
geometry layout_test(void);

/* layout_hash changes whenever a structure above changes shape. */
uint32_t layout_hash(void);

/* layout_checksum is what the immutable half of sb must carry in sb->checksum. */
uint64_t layout_checksum(const superblock *sb);

#endif
