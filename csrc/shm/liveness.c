/* liveness.c - see liveness.h. Facts measured in research/reliability.md, section 2: a PROT_NONE mapping keeps an open
 * file description, and so its OFD locks, alive after close(); the lock is gone 0.1-1 ms after SIGKILL (72 ms per GiB
 * of memory to tear down); a probe costs 0.3-1.2 us. */
#include "shm/liveness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "shm/clock.h"
#include "shm/recovery.h"
#include "shm/txn.h"

#define PIN_BYTES 4096
#define CLEAN_WAIT_MS 1000 /* a registrant waits so long for somebody else's recovery of its slot */

static pthread_mutex_t process_lock = PTHREAD_MUTEX_INITIALIZER; /* the list, and open descriptors that hold locks */
static segment *live_segments;

/* --- bytes of the lock file --------------------------------------------------------------------------------------- */

static int lock_byte(int fd, short type, uint32_t byte) {
    struct flock range = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &range);
}

static bool same_file(int fd, uint64_t dev, uint64_t ino) {
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

static int open_lock_file(const char *path, uint64_t dev, uint64_t ino) {
    int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || same_file(fd, dev, ino)) return fd;
    close(fd);
    errno = ESTALE;
    return -1;
}

static void *map_pin(int fd) {
    void *map = mmap(NULL, PIN_BYTES, PROT_NONE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) return NULL;
    if (madvise(map, PIN_BYTES, MADV_DONTFORK) == 0) return map;
    munmap(map, PIN_BYTES);
    return NULL;
}

static int lock_first(int fd, uint32_t base, uint32_t first, uint32_t end) {
    for (uint32_t i = first; i < end; i++) {
        if (lock_byte(fd, F_WRLCK, base + i) == 0) return (int)i;
        if (errno != EAGAIN && errno != EACCES) return -1;
    }
    errno = EAGAIN;
    return -1;
}

static int pin_locked(int fd, uint32_t base, uint32_t first, uint32_t end, bool keep_fd, pin *out) {
    int got = lock_first(fd, base, first, end);
    if (got < 0) return -1;
    void *map = map_pin(fd);
    if (!map) return -1;
    *out = (pin){map, keep_fd ? fd : -1, base + (uint32_t)got};
    return got;
}

int pin_take(const char *path, uint64_t dev, uint64_t ino, uint32_t base, uint32_t first, uint32_t end, bool keep_fd,
             pin *out) {
    pthread_mutex_lock(&process_lock);
    int fd = open_lock_file(path, dev, ino), got = -1, error = errno;
    if (fd >= 0) {
        got = pin_locked(fd, base, first, end, keep_fd, out);
        error = errno;
        if (got < 0 || !keep_fd) close(fd);
    }
    pthread_mutex_unlock(&process_lock);
    errno = error;
    return got;
}

/* The explicit unlock is for a descriptor that a child inherited a copy of. */
void pin_release(pin *p) {
    if (p->map && p->fd >= 0) {
        lock_byte(p->fd, F_UNLCK, p->byte);
        close(p->fd);
    }
    if (p->map) munmap(p->map, PIN_BYTES);
    *p = (pin){NULL, -1, 0};
}

static void nap(void) { nanosleep(&(struct timespec){0, 1000000}, NULL); }

bool pin_wait(const char *path, uint64_t dev, uint64_t ino, uint32_t byte, bool keep_fd, uint64_t deadline_ms,
              pin *out) {
    for (;;) {
        if (pin_take(path, dev, ino, byte, 0, 1, keep_fd, out) == 0) return true;
        if (errno != EAGAIN || clock_boot_ms() >= deadline_ms) return false;
        nap();
    }
}

/* --- the probe ---------------------------------------------------------------------------------------------------- */

enum probe { PROBE_FREE, PROBE_HELD, PROBE_DOUBT };

/* The probing descriptor; opened again when a closerange took it. The number is somebody else's now: not closed. */
static int probe_fd(segment *s) {
    struct segment_private *p = s->priv;
    int fd = __atomic_load_n(&s->lock_fd, __ATOMIC_ACQUIRE);
    if (same_file(fd, p->lock_dev, p->lock_ino)) return fd;
    pthread_mutex_lock(&process_lock);
    fd = s->lock_fd;
    if (!same_file(fd, p->lock_dev, p->lock_ino)) {
        fd = open_lock_file(p->lock_path, p->lock_dev, p->lock_ino);
        if (fd >= 0) __atomic_store_n(&s->lock_fd, fd, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&process_lock);
    return fd;
}

/* "Free" is believed only if the descriptor is still ours afterwards: another thread may have closed it in between. */
static enum probe probe_byte(segment *s, uint32_t byte) {
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    int fd = probe_fd(s);
    if (fd < 0 || fcntl(fd, F_OFD_GETLK, &range) != 0) return PROBE_DOUBT;
    if (range.l_type != F_UNLCK) return PROBE_HELD;
    return same_file(fd, s->priv->lock_dev, s->priv->lock_ino) ? PROBE_FREE : PROBE_DOUBT;
}

/* A slot that was given up, or whose last owner is known to be dead. */
static bool vacated(uint64_t state) { return STATE_KIND(state) == STATE_FREE || STATE_KIND(state) == STATE_FOLDING; }

/* The state word first: the byte of a vacated slot may be held by a registrant, which makes nobody alive again. */
bool segment_alive(segment *s, uint32_t slot, uint32_t gen) {
    if (slot == 0 || slot >= s->g.slots) return true;
    if (s->me->word == LATCH_WORD(slot, gen)) return true;
    uint64_t state = ld8(&segment_proc(s, slot)->state);
    bool gone = STATE_GEN(state) != gen || vacated(state);
    if (s->priv->anonymous) return !gone && !__atomic_load_n(&s->priv->dead[slot], __ATOMIC_RELAXED);
    if (s->readonly) return true;
    if (gone) return false;
    return probe_byte(s, slot) != PROBE_FREE;
}

/* --- recovery ----------------------------------------------------------------------------------------------------- */

/* Folding takes a latch: not while this process holds one, because the order of latches would not hold. */
static bool holds_latches(segment *s) {
    uint32_t mine = s->me->word;
    for (uint32_t i = 0; i < s->l.latch_count; i++) {
        if ((ld4(&segment_stripe(s, i)->latch) & ~LATCH_WAITER) == mine) return true;
    }
    return false;
}

/* The recovery byte of the slot is held and (slot, gen) is dead. What remains after recovery_run harms nobody: a row of
 * statistics that readers add up anyway, to be folded by segment_reap or inherited by the next registrant. */
static fr_status recover_held(segment *s, uint32_t slot, uint32_t gen) {
    proc *p = segment_proc(s, slot);
    uint64_t state = ld8(&p->state);
    if (STATE_GEN(state) == gen && STATE_KIND(state) == STATE_FREE) return FR_OK;
    fr_status status = recovery_run(s, slot, gen);
    if (status != FR_OK || STATE_GEN(state) != gen) return status;
    if (STATE_KIND(state) != STATE_FOLDING) {
        st8(&p->state, STATE_MAKE(gen, STATE_FOLDING));
        stat_add(s, STAT_deaths_recovered, 1);
    }
    if (s->me->word == 0 || holds_latches(s)) return FR_OK;
    if (txn_fold_stats(s, slot) == FR_OK) st8(&p->state, STATE_MAKE(gen, STATE_FREE));
    return FR_OK;
}

static bool pin_recovery(segment *s, uint32_t slot, uint64_t deadline_ms, pin *out) {
    struct segment_private *p = s->priv;
    *out = (pin){NULL, -1, 0};
    if (p->anonymous) return true;
    return pin_wait(p->lock_path, p->lock_dev, p->lock_ino, BYTE_RECOVER + slot, p->keep_fd, deadline_ms, out);
}

/* A byte that is held under an unchanged generation is a registrant that has not cleaned up yet: it will. */
fr_status segment_recover_slot(segment *s, uint32_t slot, uint32_t gen, uint64_t deadline_ms) {
    if (s->readonly) return FR_READONLY;
    if (slot == 0 || slot >= s->g.slots) return FR_ARGUMENT;
    for (;;) {
        pin held;
        if (!segment_alive(s, slot, gen) && pin_recovery(s, slot, deadline_ms, &held)) {
            bool dead = !segment_alive(s, slot, gen);
            fr_status status = dead ? recover_held(s, slot, gen) : FR_OK;
            pin_release(&held);
            if (dead) return status;
        }
        if (clock_boot_ms() >= deadline_ms) return FR_LATCHED;
        nap();
    }
}

static bool reap_slot(segment *s, uint32_t slot) {
    uint64_t state = ld8(&segment_proc(s, slot)->state);
    if (STATE_KIND(state) == STATE_FREE || segment_alive(s, slot, STATE_GEN(state))) return false;
    segment_register(s, NULL); /* without an identity statistics stay unfolded, which is harmless */
    if (segment_recover_slot(s, slot, STATE_GEN(state), 0) != FR_OK) return false;
    return STATE_KIND(state) != STATE_FOLDING;
}

unsigned segment_reap(segment *s) {
    unsigned recovered = 0;
    if (s->readonly || s->lost) return 0;
    for (uint32_t slot = 1; slot < s->g.slots; slot++) recovered += reap_slot(s, slot);
    return recovered;
}

static void forgive_latch(segment *s, uint32_t number) {
    uint32_t *latch = &segment_stripe(s, number)->latch, word = ld4(latch), slot = LATCH_SLOT(word);
    if (word == 0) return;
    if (slot == 0 || slot >= s->g.slots) cas4(latch, &word, 0); /* no process writes such a word */
    else if (!segment_alive(s, slot, LATCH_GEN(word))) segment_recover_slot(s, slot, LATCH_GEN(word), clock_boot_ms() + CLEAN_WAIT_MS);
}

/* Writers are kept away by the mark, so nothing new comes under the latches meanwhile. Whoever dies here leaves the mark,
 * and the next repair goes on. */
void segment_forgive(segment *s) {
    uint64_t *damaged = &segment_super(s)->damaged;
    if (s->readonly || s->lost) return;
    bool found = ld8(damaged) != 0;
    if (found) st8(damaged, DAMAGE_FORGIVEN);
    for (uint32_t i = 0; i < s->l.latch_count; i++) forgive_latch(s, i);
    if (found) st8(damaged, 0);
}

/* --- registration ------------------------------------------------------------------------------------------------- */

static uint64_t start_time(void) {
    char text[1024];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) return 0;
    text[n] = 0;
    char *at = strrchr(text, ')'); /* the name may contain anything; field 22 is the 20th after it */
    for (int field = 2; at && field < 22; field++) at = strchr(at + 1, ' ');
    return at ? strtoull(at + 1, NULL, 10) : 0;
}

static proc describe_self(const segment *s) {
    struct stat ns;
    proc p = {.pid = (uint64_t)getpid(), .start_time = start_time(), .attached_ms = clock_boot_ms()};
    if (stat("/proc/self/ns/pid", &ns) == 0) p.pidns = ns.st_ino;
    memcpy(p.name, s->priv->name, sizeof p.name);
    gethostname(p.host, sizeof p.host - 1);
    return p;
}

/* All but the state word, which says whether the rest is to be believed. */
static void write_proc(proc *to, const proc *from) {
    uint64_t words[sizeof(proc) / 8], *at = (uint64_t *)to;
    memcpy(words, from, sizeof words);
    for (size_t i = 1; i < FR_COUNTOF(words); i++) st8(&at[i], words[i]);
}

/* What was counted before registration goes into the row; then the row is what is counted in. */
static void adopt_stats(segment *s, uint32_t slot) {
    uint64_t *row = SEG_AT(s, s->l.stats, uint64_t) + (uint64_t)slot * s->g.stat_cells, *idle = s->priv->idle_stats;
    for (uint32_t i = 0; i < s->g.stat_cells; i++) {
        if (idle[i] == 0) continue;
        st8(&row[i], row[i] + idle[i]);
        idle[i] = 0;
    }
    __atomic_store_n(&s->stats, row, __ATOMIC_RELEASE);
}

/* The slot's new life begins. */
static void occupy(segment *s, uint32_t slot, const proc *self) {
    proc *p = segment_proc(s, slot);
    uint32_t gen = (STATE_GEN(ld8(&p->state)) + 1) & ((UINT32_C(1) << LATCH_GEN_BITS) - 1);
    if (gen == 0) gen = 1;
    st8(&p->state, STATE_MAKE(gen, STATE_REGISTERING));
    write_proc(p, self);
    st8(&p->state, STATE_MAKE(gen, STATE_ATTACHED));
    s->me->slot = slot;
    __atomic_store_n(&s->me->word, LATCH_WORD(slot, gen), __ATOMIC_RELEASE);
}

/* Takes a vacated slot whose beacon byte is ours. The recovery byte is held meanwhile: a recoverer that had read the last
 * life's state would else write that life's end over this life's beginning, and a live process would read dead. The row of
 * statistics may still be the last owner's: it is folded as soon as there is an identity to take a latch with, and if that
 * fails we go on counting in it. */
static bool claim(segment *s, uint32_t slot) {
    pin held;
    proc self = describe_self(s); /* four system calls: before others have to wait for us */
    if (!pin_recovery(s, slot, clock_boot_ms() + CLEAN_WAIT_MS, &held)) return false;
    bool vacant = vacated(ld8(&segment_proc(s, slot)->state));
    if (vacant) occupy(s, slot, &self);
    pin_release(&held);
    if (!vacant) return false;
    txn_fold_stats(s, slot);
    adopt_stats(s, slot);
    return true;
}

static registration *registration_of(segment *s) { return (registration *)s->me; }

/* Is the slot nobody's? One whose process has died is recovered first: with its byte held by a registrant, the dead one
 * would look alive again to whoever asks (a lock that was free would be held, for as long as the registrant is stopped). */
static bool vacate(segment *s, uint32_t slot) {
    uint64_t state = ld8(&segment_proc(s, slot)->state);
    if (vacated(state)) return true;
    if (segment_alive(s, slot, STATE_GEN(state))) return false;
    return segment_recover_slot(s, slot, STATE_GEN(state), clock_boot_ms() + CLEAN_WAIT_MS) == FR_OK;
}

/* Takes a slot's beacon byte. When the self-test shows that the mapping does not hold the lock, the descriptor stays open for
 * this and every later lock of the segment. */
static bool take_beacon(segment *s, uint32_t slot) {
    struct segment_private *p = s->priv;
    pin *beacon = &registration_of(s)->beacon;
    for (;;) {
        if (pin_take(p->lock_path, p->lock_dev, p->lock_ino, 0, slot, slot + 1, p->keep_fd, beacon) < 0) return false;
        p->beacon_fd = beacon->fd;
        if (p->keep_fd || probe_byte(s, slot) != PROBE_FREE) return true;
        pin_release(beacon);
        p->keep_fd = true;
        s->beacon_pinned = false;
    }
}

static void drop_beacon(segment *s) {
    pin_release(&registration_of(s)->beacon);
    s->priv->beacon_fd = -1;
}

static fr_status register_file(segment *s, fr_error *err) {
    for (uint32_t slot = 1; slot < s->g.slots; slot++) {
        if (!vacate(s, slot)) continue;
        if (!take_beacon(s, slot)) {
            if (errno == EAGAIN) continue; /* another registrant was quicker */
            return segment_fail(err, FR_SYSTEM, "%s: cannot lock a process slot: %s", s->priv->lock_path, strerror(errno));
        }
        if (claim(s, slot)) return FR_OK;
        drop_beacon(s);
    }
    return segment_fail(err, FR_NOSLOT, "%s: all %u process slots are taken", s->priv->path, s->g.slots - 1);
}

static fr_status register_anonymous(segment *s, fr_error *err) {
    for (uint32_t slot = 1; slot < s->g.slots; slot++) {
        if (!vacate(s, slot)) continue;
        __atomic_store_n(&s->priv->dead[slot], 0, __ATOMIC_RELAXED);
        if (claim(s, slot)) return FR_OK;
    }
    return segment_fail(err, FR_NOSLOT, "all %u process slots are taken", s->g.slots - 1);
}

fr_status segment_register(segment *s, fr_error *err) {
    if (FR_LIKELY(__atomic_load_n(&s->me->word, __ATOMIC_ACQUIRE))) return FR_OK;
    if (s->readonly) return segment_fail(err, FR_READONLY, "%s", "");
    if (s->lost) return segment_fail(err, FR_LOST, "%s", "");
    pthread_mutex_lock(&s->priv->mutex);
    fr_status status = FR_OK;
    if (s->me->word == 0) status = s->priv->anonymous ? register_anonymous(s, err) : register_file(s, err);
    pthread_mutex_unlock(&s->priv->mutex);
    return status;
}

void liveness_leave(segment *s) {
    registration *r = registration_of(s);
    if (r->id.word == 0) return;
    proc *p = segment_proc(s, r->id.slot);
    st8(&p->state, STATE_MAKE(LATCH_GEN(r->id.word), STATE_FOLDING));
    s->stats = s->priv->idle_stats;
    r->id = (identity){0, 0};
    drop_beacon(s);
}

/* --- fork --------------------------------------------------------------------------------------------------------- */

static void before_fork(void) { pthread_mutex_lock(&process_lock); }
static void after_fork_parent(void) { pthread_mutex_unlock(&process_lock); }

/* The kernel has wiped the registration; here goes what it cannot know. */
static void disown(segment *s) {
    struct segment_private *p = s->priv;
    memset(s->me, 0, sizeof(registration));
    if (p->beacon_fd >= 0) close(p->beacon_fd);
    p->beacon_fd = -1;
    s->stats = p->idle_stats;
    memset(p->idle_stats, 0, s->g.stat_cells * sizeof(uint64_t));
    pthread_mutex_init(&p->mutex, NULL);
}

static void after_fork_child(void) {
    pthread_mutex_unlock(&process_lock); /* before_fork took it: this thread holds it in the child, too */
    clock_forget_shift();
    for (segment *s = live_segments; s; s = s->priv->next) disown(s);
}

static void install_fork_handlers(void) { pthread_atfork(before_fork, after_fork_parent, after_fork_child); }

void liveness_enlist(segment *s) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, install_fork_handlers);
    pthread_mutex_lock(&process_lock);
    s->priv->next = live_segments;
    live_segments = s;
    pthread_mutex_unlock(&process_lock);
}

void liveness_delist(segment *s) {
    pthread_mutex_lock(&process_lock);
    for (segment **at = &live_segments; *at; at = &(*at)->priv->next) {
        if (*at != s) continue;
        *at = s->priv->next;
        break;
    }
    pthread_mutex_unlock(&process_lock);
}
