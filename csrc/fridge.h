/* fridge.h - libfridge as Python sees it: flat functions, plain integers and bytes. The top of the C layers.
 *
 * cffi reads the section between the #include lines and the last #endif word for word (fridge/_native/build.py), as it
 * does with wire/session.h and wire/command.h: so no preprocessor line may stand in it, and there is no second copy.
 *
 * Conventions. Functions that can fail return an fr_status (0 = done; fridge_status_* explain the others) and take
 * `char *err`, FRIDGE_ERROR_BYTES long, which receives the particulars, or "" when the status's own message says
 * everything. Bytes go in as (pointer, length). Names that come back are static strings, or NUL-terminated arrays in
 * a struct. "From `from` on" iterations return 0 at the end. All calls may block or run long: they are made without
 * the GIL; what takes nanoseconds is csrc/python's.
 *
 * Leaves out: sessions and the command table (wire/, whose own headers are exported), and everything internal.
 */
#ifndef FRIDGE_H
#define FRIDGE_H

#include "base.h"

enum { FRIDGE_ERROR_BYTES = 512 };

/* An open segment with its keyspace. */
typedef struct store store;

/* --- library ------------------------------------------------------------------------------------------------------ */

FRIDGE_API const char *fridge_version(void);
/* The compiler and the flags that matter to a measurement, in one line. */
FRIDGE_API const char *fridge_build(void);
/* Milliseconds of the clock that expiry is kept in. */
FRIDGE_API uint64_t fridge_boot_ms(void);

/* --- statuses: the rows of status.def ------------------------------------------------------------------------------ */

FRIDGE_API int fridge_status_count(void);
FRIDGE_API const char *fridge_status_name(int status);      /* "WRONGTYPE" */
FRIDGE_API const char *fridge_status_prefix(int status);    /* first word of the RESP error */
FRIDGE_API const char *fridge_status_message(int status);   /* what follows it */
FRIDGE_API const char *fridge_status_exception(int status); /* class of fridge.errors, or "None" */

/* --- statistics: the rows of stats.def, then the commands' cells --------------------------------------------------- */

FRIDGE_API int fridge_stat_count(void);
FRIDGE_API const char *fridge_stat_name(int stat);
FRIDGE_API const char *fridge_stat_kind(int stat); /* "COUNTER" or "GAUGE" */
FRIDGE_API const char *fridge_stat_help(int stat);
/* Sum over all processes, living and folded, of a cell; cells from fridge_stat_count() on are the commands'. */
FRIDGE_API uint64_t fridge_stat_sum(store *st, unsigned cell);
/* Adds to this process's cell: for what only the host sees (connections, bytes, failed authentications). */
FRIDGE_API void fridge_stat_add(store *st, unsigned cell, uint64_t n);

/* --- segment: open, close, facts, housekeeping ---------------------------------------------------------------------- */

enum fridge_open_flags {
    FRIDGE_CREATE = 1,    /* create the file when it is absent */
    FRIDGE_READONLY = 2,  /* map it without the right to write */
    FRIDGE_PREALLOC = 4,  /* take all memory at creation */
    FRIDGE_NO_SIGBUS = 8  /* leave SIGBUS to the program */
};

/* What fridge_open is told; zero means default. The shape counts only for the process that creates the file. */
typedef struct fridge_options {
    uint64_t size;        /* bytes the file may grow to; 256 MiB */
    uint32_t flags;       /* enum fridge_open_flags */
    uint32_t mode;        /* of the file; 0600 */
    uint32_t owner_plus1; /* 1 + a further uid whose files are believed */
    uint32_t page_size, stripes, slots, tables;
    const char *name;     /* shown by `fridge ps`; the program's */
} fridge_options;

/* *created tells whether the file was made by this call. */
FRIDGE_API int fridge_open(const char *path, const fridge_options *o, store **out, int *created, char *err);
/* fridge_set_aside: where fridge_open put a damaged file that another boot had left under the name; "" if it met none. */
FRIDGE_API const char *fridge_set_aside(store *st);
/* fridge_open_tiny makes or opens a segment of the smallest shape there is, 32 KiB: for tests. */
FRIDGE_API int fridge_open_tiny(const char *path, store **out, int *created, char *err);
FRIDGE_API void fridge_close(store *st);
/* Removes the file and its lock file; refused while anybody is attached. */
FRIDGE_API int fridge_destroy(const char *path, char *err);

typedef struct fridge_facts {
    uint64_t max_size;       /* bytes it may grow to */
    uint64_t size;           /* bytes it has */
    uint64_t used;           /* bytes of it that are in use */
    uint64_t created_ms;     /* wall clock */
    uint64_t settings_version, catalogue_version;
    uint64_t damaged;        /* 0, or 1 + the stripe that was found damaged */
    uint32_t page_size, stripes, slots, tables, stat_cells, layout_version;
    uint32_t slot;           /* this process's, 0 = none yet */
    uint32_t readonly, lost; /* lost: the file was truncated or removed under the mapping */
    uint32_t stale;          /* the path names another file now, or none */
    uint32_t beacon_pinned;  /* 0: the liveness lock keeps a descriptor open */
    char uuid[37];
} fridge_facts;
FRIDGE_API void fridge_describe(store *st, fridge_facts *out);
/* Bytes of the segment that this process sees through huge pages; 0 where the kernel grants none. Milliseconds. */
FRIDGE_API uint64_t fridge_huge_pages(store *st);

/* One row of `fridge ps`. */
typedef struct fridge_process {
    uint64_t pid, start_time, attached_ms, pidns, latched;
    uint32_t slot, gen, alive, self;
    char name[49], host[33];
} fridge_process;
/* Fills out for the first used slot at or after `from`; returns that slot. */
FRIDGE_API uint32_t fridge_process_next(store *st, uint32_t from, fridge_process *out);
/* Looks at every attached process once and recovers the dead. Returns how many. */
FRIDGE_API uint32_t fridge_reap(store *st);
/* The housekeeper's step. Returns how many keys, rows and blocks it reclaimed. */
FRIDGE_API uint32_t fridge_tick(store *st, uint32_t limit);
FRIDGE_API int fridge_grow(store *st, char *err);

typedef struct fridge_report {
    uint64_t keys, rows, counters, blocks, pages, findings;
    char first[512]; /* the first finding in words */
} fridge_report;
FRIDGE_API int fridge_verify(store *st, int repair, fridge_report *out, char *err);

/* --- settings that live in the segment ------------------------------------------------------------------------------ */

/* Words that the engine itself obeys. */
enum fridge_word {
    FRIDGE_WORD_POLICY,        /* 0 noeviction, 1 allkeys-lru, 2 volatile-lru, 3 volatile-ttl */
    FRIDGE_WORD_SAMPLES,       /* maxmemory-samples */
    FRIDGE_WORD_MAX_VALUE,     /* proto-max-bulk-len, bytes */
    FRIDGE_WORD_LATCH_TIMEOUT, /* ms */
    FRIDGE_WORD_MAXMEMORY,     /* bytes, 0 = the segment's size */
    FRIDGE_WORD_COUNT
};
FRIDGE_API uint64_t fridge_word_get(store *st, unsigned word);
FRIDGE_API int fridge_word_set(store *st, unsigned word, uint64_t value, char *err);

/* Everything else a server's processes share (passwords, limits, client ids) is a string in a database that no command
 * can name. get: *n is the value's whole length, at most cap bytes are copied; -1 in *n when absent. set changes
 * settings_version in the same transaction; p NULL deletes. add is an atomic increment, for client ids. */
FRIDGE_API int fridge_system_get(store *st, const char *name, char *to, size_t cap, int64_t *n, char *err);
FRIDGE_API int fridge_system_set(store *st, const char *name, const char *p, size_t n, char *err);
FRIDGE_API int fridge_system_add(store *st, const char *name, int64_t by, int64_t *out, char *err);
/* Hashes of the same database, which leave settings_version alone: the registry of clients. They wait at most 1 ms for a
 * latch, so that a server's worker is never held up: FR_LATCHED then. all packs every {length:32, field, length:32,
 * value} into `to` and says in *n how many bytes that takes; when it is above cap, come again with more room. */
FRIDGE_API int fridge_system_hset(store *st, const char *name, const char *field, const char *p, size_t n, char *err);
FRIDGE_API int fridge_system_hdel(store *st, const char *name, const char *field, char *err);
FRIDGE_API int fridge_system_hlen(store *st, const char *name, uint64_t *n, char *err);
FRIDGE_API int fridge_system_hall(store *st, const char *name, char *to, size_t cap, size_t *n, char *err);

/* --- keyspace ------------------------------------------------------------------------------------------------------- */

/* Keys of a database, and how many of them have an expiry. */
FRIDGE_API int fridge_keys(store *st, uint32_t db, uint64_t *keys, uint64_t *expires, char *err);

/* --- tables --------------------------------------------------------------------------------------------------------- */

typedef struct fridge_table {
    uint64_t capacity, rows, expires, refused, memory_bytes;
    uint32_t number, columns;
    char name[64];
} fridge_table;
/* Fills out for the first declared table with a number at or after `from`; returns its number + 1. */
FRIDGE_API uint32_t fridge_table_next(store *st, uint32_t from, fridge_table *out);

/* --- sessions: what a server does with each read, in one call -------------------------------------------------------- */

typedef struct fridge_output {
    const char *p;   /* valid until the next call on the session */
    char copy[4096]; /* the same bytes, if they fit: Python cuts from a buffer faster than it follows a pointer */
} fridge_output;

/* fridge_feed is session_feed with the clocks read here, for a session in the process (a server's are fridge_sockets.h's). It
 * hands out all output at once, which then counts as sent. Returns, in one number: the feed_result (bits 0-2), whether
 * bytes of an unfinished request are held (bit 3), and from bit 4 on how many bytes of output there are. */
struct session;
FRIDGE_API uint64_t fridge_feed(struct session *s, const char *data, size_t n, fridge_output *out);

/* --- strings, hashes, rows, counters, locks: the object calls of the mmap door go here, a section a noun ------------- */

#endif
