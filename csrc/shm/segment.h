/* segment.h - one mapping of a segment file, and this process's place in it.
 *
 * create, attach, validate, grow; the process table; the liveness beacon; SIGBUS. What it leaves out: latches and
 * transactions (latch.h, txn.h), which call segment_alive and segment_recover_slot.
 *
 * Life cycle: segment_open (creates or attaches, maps, copies and checks the geometry) -> segment_register at the first
 * write (slot, generation, beacon) -> segment_close. A fork's child finds no identity (MADV_WIPEONFORK) and registers
 * anew at its own first write; reading needs none.
 *
 * Liveness (design section 4, rule 2; research/reliability.md section 2): byte `slot` of <segment>.lock, OFD-locked
 * through a description that only a PROT_NONE mapping with MADV_DONTFORK keeps alive. Probed through another
 * description. On any doubt the answer is "alive".
 *
 * Bytes of the lock file: [1, slots) beacons; [BYTE_RECOVER + slot] held while that dead slot is recovered.
 */
#ifndef FRIDGE_SHM_SEGMENT_H
#define FRIDGE_SHM_SEGMENT_H

#include "base.h"
#include "shm/layout.h"

#define BYTE_RECOVER 65536

/* A latch word, and an identity: {waiter:1, slot:12, gen:19}. */
#define LATCH_WAITER UINT32_C(0x80000000)
#define LATCH_GEN_BITS 19
#define LATCH_WORD(slot, gen) ((uint32_t)(slot) << LATCH_GEN_BITS | (gen))
#define LATCH_SLOT(word) (((word) & ~LATCH_WAITER) >> LATCH_GEN_BITS)
#define LATCH_GEN(word) ((word) & ((UINT32_C(1) << LATCH_GEN_BITS) - 1))

/* One per process and segment, on a page that a fork's child finds zeroed. */
typedef struct identity {
    uint32_t word; /* slot << 19 | gen; 0 = not registered. What a latch word holds */
    uint32_t slot;
} identity;

typedef struct segment {
    uint8_t *base;      /* the reserved window; NULL once closed */
    uint64_t reserved;  /* bytes of address space behind base */
    uint64_t bound;     /* bytes proven to be backed; only grows; __atomic relaxed */
    geometry g;         /* the immutable copy that everything is checked against */
    layout l;
    uint64_t secret[4];
    identity *me;
    uint64_t *stats;    /* this process's row of cells, or a private dummy while unregistered */
    uint64_t pool_hint; /* page where this process's last search of the pool ended; under the page pool latch */
    uint32_t lost;      /* set by the SIGBUS handler: every call returns FR_LOST */
    bool readonly;
    bool beacon_pinned; /* false: the file system does not pin OFD locks by mappings, the descriptor stays open */
    int lock_fd;        /* probing description, CLOEXEC; re-opened when fstat says it is gone */
    uint64_t file_ino, file_dev;
    struct segment_private *priv; /* paths, beacon mapping, registration mutex: segment.c only */
} segment;

typedef struct segment_options {
    uint64_t size;       /* max size when creating; 0 = 256 MiB */
    const geometry *geometry; /* overrides everything; tests */
    bool readonly;
    bool create;         /* create when absent */
    bool prealloc;       /* take all memory at creation */
    bool no_sigbus;      /* do not install the SIGBUS handler */
    uint32_t mode;       /* file mode when creating; 0 = 0600 */
    uint32_t owner;      /* a further uid whose files are believed; UINT32_MAX = none */
    const char *name;    /* process name for `fridge ps`; NULL = argv[0]'s */
} segment_options;

/* segment_open attaches to the segment at path, creating it when absent and o->create says so. *created tells which.
 * Failures: ABSENT, NOTSEGMENT, VERSION, TRUNCATED, STRANGER, MODE, NOSPACE, DAMAGED, SYSTEM, each with particulars in
 * err->text. Nothing is left behind on failure. */
fr_status segment_open(const char *path, const segment_options *o, segment **out, bool *created, fr_error *err);

/* segment_anonymous maps a private segment without a file, for harnesses and unit tests: liveness says whatever
 * segment_set_dead said. */
fr_status segment_anonymous(const geometry *g, segment **out, fr_error *err);

/* segment_close unmaps, gives up the slot (folding its statistics is the next registrant's or recoverer's work) and
 * frees s. Handles that other threads still use are the caller's concern. */
void segment_close(segment *s);

/* segment_register gives this process a slot, if it has none. Called by the first write; cheap afterwards. NOSLOT when
 * every slot has a live owner. */
fr_status segment_register(segment *s, fr_error *err);

/* segment_alive says whether the process behind (slot, gen) may still be storing. Doubt is "alive". Own slot: true. */
bool segment_alive(segment *s, uint32_t slot, uint32_t gen);

/* segment_recover_slot makes (slot, gen) harmless: takes its recovery byte (polling until deadline_ms of the boot clock;
 * FR_LATCHED past it), re-checks death, calls recovery_run, folds statistics, frees the slot. Idempotent. */
fr_status segment_recover_slot(segment *s, uint32_t slot, uint32_t gen, uint64_t deadline_ms);

/* segment_reap looks at every attached slot once and recovers the dead; the housekeeper's early recovery. Returns how
 * many it recovered. */
unsigned segment_reap(segment *s);

/* segment_forgive lets go of what stops all writers: latches of the dead whose journals are not believable (those are
 * dropped), and latches that name nobody. For a repair, which then looks at everything. */
void segment_forgive(segment *s);

/* segment_grow allocates up to 4 MiB more of the file (fallocate, after a look at statvfs and the memory limit) and
 * publishes it. Never called under a latch. FR_OOM when max_size is reached, FR_NOSPACE when the system refuses. */
fr_status segment_grow(segment *s, fr_error *err);

/* segment_prove extends s->bound over end if the header's size covers it and the pages are really there. */
bool segment_prove(segment *s, uint64_t end);

/* segment_stale says whether the path now names another file, or none. */
bool segment_stale(segment *s);

/* segment_destroy removes the file and its lock file; FR_ATTACHED while any live process is attached. */
fr_status segment_destroy(const char *path, fr_error *err);

/* segment_other_boot says whether the file was made on another boot: every process in its table is gone, and what the
 * disk kept of it is no prefix of the store order. store/boot.c decides what to do about it. */
bool segment_other_boot(segment *s);

/* segment_size_warning says in one line (text, n bytes) why a segment of `size` bytes at path will probably not be able
 * to grow to its full size; false, and "" in text, when nothing speaks against it. */
bool segment_size_warning(const char *path, uint64_t size, char *text, size_t n);

/* segment_huge returns how many bytes this process sees through huge pages; see huge.h. */
uint64_t segment_huge(segment *s);

/* Iteration over the process table for `fridge ps`. */
typedef struct process_info {
    uint32_t slot, gen;
    uint64_t pid, start_time, attached_ms, pidns, latched;
    bool alive, self;
    char name[49], host[33];
} process_info;
/* segment_process fills info for the first slot from `from` on whose process is attached; returns the slot, or 0 at the end.
 * One that has not finished registering is not listed: its entry is not whole yet. */
uint32_t segment_process(segment *s, uint32_t from, process_info *info);

/* clock_boot_ms: CLOCK_BOOTTIME in ms, corrected for time namespaces: what expiry is kept in. */
uint64_t clock_boot_ms(void);
uint64_t clock_wall_ms(void);

#define SEG_AT(s, off, type) ((type *)((s)->base + (off)))

/* segment_holds: does [off, off + n) lie in the data area of what is proven to be there? The check before every
 * dereference of an offset that came out of the segment. */
static inline bool segment_holds(segment *s, uint64_t off, uint64_t n) {
    uint64_t end = off + n;
    if (FR_UNLIKELY(off < s->l.data || end < off || n > s->g.max_size)) return false;
    if (FR_LIKELY(end <= __atomic_load_n(&s->bound, __ATOMIC_RELAXED))) return true;
    return segment_prove(s, end);
}

/* segment_has is segment_holds for an offset out of a slot or directory word and a length below a page run's: their sum
 * cannot overflow. */
static inline bool segment_has(segment *s, uint64_t off, uint32_t n) {
    if (FR_LIKELY(off >= s->l.data && off + n <= __atomic_load_n(&s->bound, __ATOMIC_RELAXED))) return true;
    return segment_holds(s, off, n);
}

static inline superblock *segment_super(segment *s) { return (superblock *)s->base; }

static inline stripe *segment_stripe(segment *s, uint32_t i) {
    return (stripe *)(s->base + s->l.latches + (uint64_t)i * s->l.stripe_bytes);
}

static inline uint32_t segment_pool_latch(segment *s) { return s->g.stripes + POOL_LATCHES; }

/* How long a write waits for a live process; the setting's own limits, whatever the header says. */
static inline uint64_t segment_latch_timeout(segment *s) {
    uint64_t ms = ld8(&segment_super(s)->shared_settings[SETTING_LATCH_TIMEOUT]);
    return ms == 0 ? 200 : ms > 60000 ? 60000 : ms;
}

/* Statistics: one cell a statistic and process, added up by whoever reads. CELL_* follow stats.def. */
enum stat_cell {
#define X(name, kind, help) STAT_##name,
#include "stats.def"
#undef X
    STAT_COUNT
};

/* The process's own cell, so no lock prefix: two threads of one process without a GIL may lose each other's update, which
 * statistics can bear and a 5 ns locked add on every operation cannot. */
static inline void stat_add(segment *s, unsigned cell, uint64_t n) {
    if (FR_UNLIKELY(cell >= s->g.stat_cells)) return;
    uint64_t *p = &s->stats[cell];
    __atomic_store_n(p, __atomic_load_n(p, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

/* stat_sum adds a cell up over all processes and the base. */
uint64_t stat_sum(segment *s, unsigned cell);

#ifdef FRIDGE_HOOKS
/* Harness only: what segment_alive says of a slot of an anonymous segment. */
FRIDGE_API void segment_set_dead(segment *s, uint32_t slot, bool dead);
/* Harness only: become another (slot, gen) of an anonymous segment. */
FRIDGE_API void segment_become(segment *s, uint32_t slot, uint32_t gen);
#endif

#endif
