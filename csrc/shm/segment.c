/* segment.c - creating, attaching and removing a segment file. See segment.h.
 *
 * Both ways in end in the same state: the superblock copied and checked, the whole range reserved by one mapping, both
 * files known by device and inode. Creation does all of it before the file has its name; a killed creator leaves a lock
 * file, which the next one uses, and nothing else.
 *
 * Split off: file.c (files as files), format.c (a new segment), growth.c (size), liveness.c (slots), sigbus.c.
 */
#include "shm/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "shm/file.h"
#include "shm/format.h"
#include "shm/huge.h"
#include "shm/latch.h"
#include "shm/liveness.h"
#include "shm/sigbus.h"

#define DEFAULT_SIZE (UINT64_C(256) << 20)
#define MIN_SIZE (UINT64_C(1) << 20)
#define INITIAL_PAGES 64 /* data pages of a new file */
#define CREATE_WAIT_MS 10000
#define OPEN_ATTEMPTS 64 /* lost races with creators and destroyers before it is called a failure */

#ifdef FRIDGE_HOOKS
_Thread_local access_hook fr_hook;
_Thread_local void *fr_hook_ctx;
#endif

fr_status segment_fail(fr_error *err, fr_status status, const char *format, ...) {
    if (!err) return status;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return err->status = status;
}

/* --- the process's side of a segment ------------------------------------------------------------------------------ */

/* Older kernels than 4.14 do not wipe; the atfork handler does it then. */
static identity *map_registration(void) {
    void *page = mmap(NULL, system_page(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return NULL;
    madvise(page, system_page(), MADV_WIPEONFORK);
    return page;
}

static void name_process(char *to, size_t n, const char *name) {
    snprintf(to, n, "%s", name && *name ? name : program_invocation_short_name);
}

static void segment_discard(segment *s) {
    struct segment_private *p = s->priv;
    if (p) {
        sigbus_forget(p->window);
        if (p->fd >= 0) close(p->fd);
        free(p->path);
        free(p->lock_path);
        free(p->dead);
        free(p->idle_stats);
        pthread_mutex_destroy(&p->mutex);
    }
    if (s->lock_fd >= 0) close(s->lock_fd);
    if (s->base) munmap(s->base, s->reserved);
    if (s->me) munmap(s->me, system_page());
    free(p);
    free(s);
}

static segment *segment_blank(const char *name) {
    segment *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->lock_fd = -1;
    s->beacon_pinned = true;
    s->priv = calloc(1, sizeof *s->priv);
    if (s->priv) {
        s->priv->fd = s->priv->beacon_fd = s->priv->window = -1;
        pthread_mutex_init(&s->priv->mutex, NULL);
        name_process(s->priv->name, sizeof s->priv->name, name);
        s->me = map_registration();
    }
    if (s->me) return s;
    segment_discard(s);
    return NULL;
}

/* Takes over what is immutable. From here on nothing of it is read from the mapping again. */
static fr_status adopt_geometry(segment *s, const superblock *sb, fr_error *err) {
    fr_status status = layout_compute(&sb->g, &s->l, err);
    if (status != FR_OK) return status;
    s->g = sb->g;
    memcpy(s->secret, sb->hash_secret, sizeof s->secret);
    s->reserved = FR_ALIGN(s->g.max_size, system_page());
    s->priv->idle_stats = calloc(s->g.stat_cells, sizeof(uint64_t));
    s->stats = s->priv->idle_stats;
    return s->stats ? FR_OK : segment_fail(err, FR_SYSTEM, "out of memory");
}

static fr_status reserve_failed(const segment *s, int error, fr_error *err) {
    struct rlimit limit;
    unsigned long long mib = s->reserved >> 20;
    if (error == ENOMEM && getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        return segment_fail(err, FR_NOSPACE,
                            "%s: cannot reserve %llu MiB of address space: RLIMIT_AS (ulimit -v) is %llu MiB",
                            s->priv->path, mib, (unsigned long long)(limit.rlim_cur >> 20));
    }
    return segment_fail(err, FR_SYSTEM, "%s: cannot map %llu MiB: %s", s->priv->path, mib, strerror(error));
}

/* One mapping of the greatest size, far beyond the end of the file: growing needs no remapping in any process. */
static fr_status reserve(segment *s, int fd, bool watched, fr_error *err) {
    int protection = s->readonly ? PROT_READ : PROT_READ | PROT_WRITE;
    int flags = MAP_SHARED | MAP_NORESERVE | (fd < 0 ? MAP_ANONYMOUS : 0);
    void *base = mmap(NULL, s->reserved, protection, flags, fd, 0);
    if (base == MAP_FAILED) return reserve_failed(s, errno, err);
    s->base = base;
    madvise(base, s->reserved, MADV_DONTDUMP);
    huge_advise(base, s->reserved);
    if (!watched) return FR_OK;
    s->priv->window = sigbus_watch(base, s->reserved, protection, &s->lost);
    if (s->priv->window >= 0) return FR_OK;
    return segment_fail(err, FR_SYSTEM, "%s: more than %d segments are open in this process", s->priv->path,
                        SIGBUS_WINDOWS);
}

static void remember_file(segment *s, const struct stat *st) {
    s->file_dev = st->st_dev;
    s->file_ino = st->st_ino;
}

static void remember_lock(segment *s, int fd, const struct stat *st) {
    s->lock_fd = fd;
    s->priv->lock_dev = st->st_dev;
    s->priv->lock_ino = st->st_ino;
}

/* --- create ------------------------------------------------------------------------------------------------------- */

static fr_status choose_geometry(const segment_options *o, geometry *g, fr_error *err) {
    uint64_t size = o->size ? o->size : DEFAULT_SIZE;
    layout l;
    if (o->geometry) {
        *g = *o->geometry;
    } else if (size < MIN_SIZE) {
        return segment_fail(err, FR_ARGUMENT, "a segment of %llu bytes is too small; the least is 1 MiB",
                            (unsigned long long)size);
    } else {
        *g = layout_default(size);
    }
    return layout_compute(g, &l, err);
}

static uint64_t initial_size(const segment *s, bool prealloc) {
    uint64_t size = FR_ALIGN(s->l.data + (uint64_t)INITIAL_PAGES * s->g.page_size, (uint64_t)4096);
    return prealloc || size > s->g.max_size ? s->g.max_size : size;
}

/* Builds the whole segment in a draft and gives it its name. FR_RETRY: somebody else's file has the name. */
static fr_status build(segment *s, const segment_options *o, superblock *sb, fr_error *err) {
    struct segment_private *p = s->priv;
    struct stat st;
    draft d;
    fr_status status = file_draft(p->path, o->mode ? o->mode : 0600, &d, err);
    if (status != FR_OK) return status;
    uint64_t size = initial_size(s, o->prealloc);
    status = file_allocate(d.fd, p->path, 0, size, err);
    if (status != FR_OK) goto fail;
    status = reserve(s, d.fd, !o->no_sigbus, err);
    if (status != FR_OK) goto fail;
    format_segment(s, sb, size);
    if (fstat(d.fd, &st) != 0) {
        status = segment_fail(err, FR_SYSTEM, "%s: %s", p->path, strerror(errno));
        goto fail;
    }
    status = file_publish(&d, p->path, err);
    if (status != FR_OK) goto fail;
    p->fd = d.fd;
    remember_file(s, &st);
    s->bound = size;
    return FR_OK;
fail:
    file_discard(&d);
    return status;
}

static bool names_file(const char *path, uint64_t dev, uint64_t ino) {
    struct stat st;
    return lstat(path, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

/* With BYTE_CREATE held nobody else creates or destroys; what happened before it was held must be looked at again. */
static fr_status create_locked(segment *s, const segment_options *o, const geometry *g, fr_error *err) {
    struct segment_private *p = s->priv;
    struct stat st;
    superblock sb;
    if (!names_file(p->lock_path, p->lock_dev, p->lock_ino) || lstat(p->path, &st) == 0) return FR_RETRY;
    fr_status status = format_superblock(g, p->lock_ino, &sb, err);
    if (status == FR_OK) status = adopt_geometry(s, &sb, err);
    if (status == FR_OK) status = build(s, o, &sb, err);
    if (status != FR_OK && status != FR_RETRY) unlink(p->lock_path);
    return status;
}

/* A lock file that was made for nothing goes again: under BYTE_CREATE, and only while no segment can be using it. The
 * byte is given up with the descriptor. */
static void discard_lock(segment *s) {
    struct segment_private *p = s->priv;
    struct flock creating = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = BYTE_CREATE, .l_len = 1};
    struct stat st;
    if (fcntl(s->lock_fd, F_OFD_SETLK, &creating) != 0 || !names_file(p->lock_path, p->lock_dev, p->lock_ino)) return;
    if (lstat(p->path, &st) != 0 && errno == ENOENT) unlink(p->lock_path);
}

static fr_status create_as(segment *s, const segment_options *o, const trust *t, bool *made, fr_error *err) {
    struct segment_private *p = s->priv;
    struct stat st;
    geometry g;
    int fd;
    pin creating;
    fr_status status = choose_geometry(o, &g, err);
    if (status == FR_OK) status = file_open_lock(p->lock_path, true, t, &fd, &st, made, err);
    if (status != FR_OK) return status == FR_ABSENT ? FR_RETRY : status;
    remember_lock(s, fd, &st);
    uint64_t deadline = clock_boot_ms() + CREATE_WAIT_MS;
    if (pin_wait(p->lock_path, st.st_dev, st.st_ino, BYTE_CREATE, true, deadline, &creating)) {
        status = create_locked(s, o, &g, err);
        pin_release(&creating);
        return status;
    }
    if (errno == ESTALE || errno == ENOENT) return FR_RETRY;
    return segment_fail(err, FR_SYSTEM, "%s: waiting for another process that creates or destroys the segment: %s",
                        p->lock_path, strerror(errno));
}

static fr_status create(segment *s, const segment_options *o, const trust *t, fr_error *err) {
    bool made = false;
    fr_status status = create_as(s, o, t, &made, err);
    if (status != FR_OK && made) discard_lock(s);
    return status;
}

/* --- attach ------------------------------------------------------------------------------------------------------- */

static fr_status too_short(const char *path, const superblock *sb, ssize_t n, fr_error *err) {
    if (n == 0) {
        return segment_fail(err, FR_NOTSEGMENT, "%s is empty, no fridge segment; remove it to have one created", path);
    }
    if (n < 8 || sb->magic != LAYOUT_MAGIC) {
        return segment_fail(err, FR_NOTSEGMENT, "%s is not a fridge segment: %zd bytes of something else", path, n);
    }
    return segment_fail(err, FR_TRUNCATED, "%s is truncated: %zd bytes, while the header alone has %zu", path, n,
                        sizeof *sb);
}

static fr_status check_header(const char *path, const superblock *sb, fr_error *err) {
    if (sb->magic != LAYOUT_MAGIC) {
        return segment_fail(err, FR_NOTSEGMENT,
                            "%s is not a fridge segment: it is a file of something else; give another path, or remove it",
                            path);
    }
    if (sb->version != LAYOUT_VERSION) {
        return segment_fail(err, FR_VERSION,
                            "%s has layout version %u, this fridge reads version %u: use the fridge that made it, or "
                            "`fridge destroy` it",
                            path, sb->version, LAYOUT_VERSION);
    }
    if (sb->layout_hash != layout_hash()) {
        return segment_fail(err, FR_VERSION, "%s was made by a build with other structures (layout %08x, here %08x)",
                            path, sb->layout_hash, layout_hash());
    }
    if (sb->checksum != layout_checksum(sb)) {
        return segment_fail(err, FR_DAMAGED, "%s: the header's checksum is %016llx, its content gives %016llx", path,
                            (unsigned long long)sb->checksum, (unsigned long long)layout_checksum(sb));
    }
    return FR_OK;
}

static fr_status read_header(const char *path, int fd, superblock *sb, fr_error *err) {
    ssize_t n;
    do {
        n = pread(fd, sb, sizeof *sb, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0) return segment_fail(err, FR_SYSTEM, "%s: read: %s", path, strerror(errno));
    if (n < (ssize_t)sizeof *sb) return too_short(path, sb, n, err);
    return check_header(path, sb, err);
}

/* size was read before st, and never falls: a segment that grows meanwhile passes. */
static fr_status check_size(segment *s, int fd, const superblock *sb, struct stat *st, fr_error *err) {
    const char *path = s->priv->path;
    unsigned long long size = sb->size;
    if (size % s->g.page_size || size < s->l.data || size > s->g.max_size) {
        return segment_fail(err, FR_DAMAGED, "%s: the header says %llu bytes; possible are %llu to %llu", path, size,
                            (unsigned long long)s->l.data, (unsigned long long)s->g.max_size);
    }
    if (fstat(fd, st) != 0) return segment_fail(err, FR_SYSTEM, "%s: %s", path, strerror(errno));
    if ((uint64_t)st->st_size < size) {
        return segment_fail(err, FR_TRUNCATED, "%s is truncated: %llu bytes of %llu", path,
                            (unsigned long long)st->st_size, size);
    }
    if (s->readonly || (uint64_t)st->st_blocks * 512 >= size) return FR_OK;
    return file_allocate(fd, path, 0, size, err); /* a sparse copy: holes would be SIGBUS on a full file system */
}

static fr_status attach_lock(segment *s, const superblock *sb, const trust *t, fr_error *err) {
    struct segment_private *p = s->priv;
    struct stat st;
    bool made;
    int fd;
    fr_status status = file_open_lock(p->lock_path, false, t, &fd, &st, &made, err);
    if (status == FR_ABSENT) {
        if (!names_file(p->path, s->file_dev, s->file_ino)) return FR_RETRY; /* destroyed under us */
        return segment_fail(err, FR_DAMAGED,
                            "%s: its lock file %s is missing, so the living cannot be told from the dead; open it "
                            "read-only, or `fridge destroy` it",
                            p->path, p->lock_path);
    }
    if (status != FR_OK) return status;
    remember_lock(s, fd, &st);
    if (st.st_ino == sb->lock_ino) return FR_OK;
    if (!names_file(p->path, s->file_dev, s->file_ino)) return FR_RETRY;
    return segment_fail(err, FR_DAMAGED,
                        "%s is not the lock file of %s (inode %llu, the header names %llu): was one of them copied or "
                        "removed?",
                        p->lock_path, p->path, (unsigned long long)st.st_ino, (unsigned long long)sb->lock_ino);
}

static void note_boot(segment *s, const superblock *sb) {
    static const uint8_t unknown[16];
    uint8_t now[16];
    format_boot_id(now);
    s->priv->other_boot = memcmp(now, sb->boot_id, 16) != 0 && memcmp(now, unknown, 16) != 0 &&
                          memcmp(sb->boot_id, unknown, 16) != 0;
}

static fr_status attach(segment *s, const segment_options *o, const trust *t, fr_error *err) {
    struct segment_private *p = s->priv;
    struct stat st;
    superblock sb;
    fr_status status = file_open(p->path, s->readonly, t, &p->fd, &st, err);
    if (status != FR_OK) return status;
    if (st.st_nlink == 0) return FR_RETRY;
    remember_file(s, &st);
    status = read_header(p->path, p->fd, &sb, err);
    if (status != FR_OK) return status;
    status = adopt_geometry(s, &sb, err);
    if (status == FR_ARGUMENT) status = err ? (err->status = FR_DAMAGED) : FR_DAMAGED;
    if (status == FR_OK) status = check_size(s, p->fd, &sb, &st, err);
    if (status == FR_OK && !s->readonly) status = attach_lock(s, &sb, t, err);
    if (status == FR_OK) status = reserve(s, p->fd, !o->no_sigbus, err);
    if (status != FR_OK) return status;
    note_boot(s, &sb);
    if (segment_prove(s, sb.size)) return FR_OK;
    return segment_fail(err, FR_TRUNCATED, "%s was truncated while it was opened", p->path);
}

/* --- open --------------------------------------------------------------------------------------------------------- */

/* One attempt, on a fresh segment: FR_RETRY when another process got in between. */
static fr_status open_once(const char *path, const segment_options *o, segment **out, bool *created, fr_error *err) {
    trust t = {o->owner, o->mode ? o->mode : 0600};
    segment *s = segment_blank(o->name);
    if (!s) return segment_fail(err, FR_SYSTEM, "out of memory");
    s->readonly = o->readonly;
    s->priv->path = strdup(path);
    fr_status status = FR_OK;
    if (!s->priv->path || asprintf(&s->priv->lock_path, "%s.lock", path) < 0) {
        s->priv->lock_path = NULL;
        status = segment_fail(err, FR_SYSTEM, "out of memory");
    }
    if (status == FR_OK) status = attach(s, o, &t, err);
    *created = status == FR_ABSENT && o->create && !o->readonly;
    if (*created) status = create(s, o, &t, err);
    if (status == FR_OK) *out = s;
    else segment_discard(s);
    return status;
}

static fr_status open_resolved(const char *path, const segment_options *o, segment **out, bool *created,
                               fr_error *err) {
    for (int attempt = 0; attempt < OPEN_ATTEMPTS; attempt++) {
        fr_status status = open_once(path, o, out, created, err);
        if (status == FR_ABSENT) return segment_fail(err, FR_ABSENT, "no segment at %s", path);
        if (status != FR_RETRY) return status;
    }
    return segment_fail(err, FR_SYSTEM, "%s: created and removed by others %d times over", path, OPEN_ATTEMPTS);
}

static void remove_directory_of(const char *path) {
    char *dir = strdup(path);
    if (!dir) return;
    *strrchr(dir, '/') = 0;
    rmdir(dir);
    free(dir);
}

fr_status segment_open(const char *path, const segment_options *o, segment **out, bool *created, fr_error *err) {
    char *real = NULL;
    bool made_dir = false, made = false;
    fr_error local;
    if (!err) err = &local;
    err->status = FR_OK;
    err->text[0] = 0;
    fr_status status = file_resolve(path, o->create && !o->readonly, o->mode, &real, &made_dir, err);
    if (status == FR_OK) status = open_resolved(real, o, out, &made, err);
    if (status != FR_OK && made_dir && real) remove_directory_of(real);
    if (status == FR_OK) liveness_enlist(*out);
    if (created) *created = status == FR_OK && made;
    free(real);
    return status;
}

fr_status segment_anonymous(const geometry *g, segment **out, fr_error *err) {
    superblock sb;
    segment *s = segment_blank(NULL);
    if (!s) return segment_fail(err, FR_SYSTEM, "out of memory");
    s->priv->anonymous = true;
    s->priv->path = strdup("(anonymous)");
    fr_status status = format_superblock(g, 0, &sb, err);
    if (status == FR_OK) status = adopt_geometry(s, &sb, err);
    if (status == FR_OK) status = reserve(s, -1, false, err);
    s->priv->dead = calloc(g->slots, 1);
    if (status == FR_OK && !s->priv->dead) status = segment_fail(err, FR_SYSTEM, "out of memory");
    if (status != FR_OK) {
        segment_discard(s);
        return status;
    }
    format_segment(s, &sb, s->g.max_size);
    s->bound = s->g.max_size;
    liveness_enlist(s);
    *out = s;
    return FR_OK;
}

void segment_close(segment *s) {
    if (!s) return;
    if (!s->readonly) liveness_leave(s);
    liveness_delist(s);
    segment_discard(s);
}

/* --- the end, and who is there ------------------------------------------------------------------------------------ */

bool segment_other_boot(segment *s) { return s->priv->other_boot; }

uint64_t segment_huge(segment *s) { return huge_mapped(s->base, s->reserved); }

bool segment_stale(segment *s) {
    return !s->priv->anonymous && !names_file(s->priv->path, s->file_dev, s->file_ino);
}

/* Other versions and damaged ones may be destroyed, other people's files and other kinds of files may not. */
static fr_status check_destroyable(const char *path, int fd, fr_error *err) {
    superblock sb = {0};
    ssize_t n = pread(fd, &sb, sizeof sb, 0);
    if (n >= 8 && sb.magic == LAYOUT_MAGIC) return FR_OK;
    return segment_fail(err, FR_NOTSEGMENT, "%s is not a fridge segment; it stays", path);
}

static fr_status name_attached(const char *path, int fd, uint32_t slot, fr_error *err) {
    superblock sb;
    layout l;
    proc p = {0};
    if (read_header(path, fd, &sb, NULL) == FR_OK && layout_compute(&sb.g, &l, NULL) == FR_OK && slot < sb.g.slots &&
        pread(fd, &p, sizeof p, (off_t)(l.procs + slot * sizeof p)) == (ssize_t)sizeof p) {
        return segment_fail(err, FR_ATTACHED, "%s is in use by process %llu (%.47s)", path, (unsigned long long)p.pid,
                            p.name);
    }
    return segment_fail(err, FR_ATTACHED, "%s is in use by other processes", path);
}

/* Every beacon byte at once: nobody is registered, and nobody can register before the names are gone. */
static fr_status lock_all(const char *path, int data, int lock, fr_error *err) {
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = BYTE_CREATE, .l_len = 2 * BYTE_RECOVER};
    uint64_t deadline = clock_boot_ms() + CREATE_WAIT_MS;
    while (fcntl(lock, F_OFD_SETLK, &all) != 0) {
        struct flock other = all;
        if (errno != EAGAIN && errno != EACCES) {
            return segment_fail(err, FR_SYSTEM, "%s.lock: %s", path, strerror(errno));
        }
        if (fcntl(lock, F_OFD_GETLK, &other) != 0 || other.l_type == F_UNLCK) continue;
        if (other.l_start > BYTE_CREATE && other.l_start < BYTE_RECOVER) {
            return name_attached(path, data, (uint32_t)other.l_start, err);
        }
        if (clock_boot_ms() >= deadline) {
            return segment_fail(err, FR_ATTACHED, "%s is being created or recovered", path);
        }
        usleep(1000);
    }
    return FR_OK;
}

/* Without a lock file nobody can register, so there is nobody to ask for. */
static fr_status destroy_files(const char *path, const char *lock_path, int data, const trust *t, fr_error *err) {
    struct stat st;
    bool made;
    int lock;
    fr_status status = file_open_lock(lock_path, false, t, &lock, &st, &made, err);
    if (status != FR_OK && status != FR_ABSENT) return status;
    bool locked = status == FR_OK;
    status = locked ? lock_all(path, data, lock, err) : FR_OK;
    if (status == FR_OK && unlink(path) != 0) status = segment_fail(err, FR_SYSTEM, "%s: %s", path, strerror(errno));
    if (status == FR_OK && locked) unlink(lock_path);
    if (locked) close(lock);
    return status;
}

static fr_status destroy_resolved(const char *path, fr_error *err) {
    const trust t = {UINT32_MAX, 0666};
    struct stat st;
    char *lock_path;
    int data;
    fr_status status = file_open(path, true, &t, &data, &st, err);
    if (status == FR_ABSENT) return segment_fail(err, FR_ABSENT, "no segment at %s", path);
    if (status != FR_OK) return status;
    status = check_destroyable(path, data, err);
    if (status == FR_OK && asprintf(&lock_path, "%s.lock", path) < 0) {
        status = segment_fail(err, FR_SYSTEM, "out of memory");
    } else if (status == FR_OK) {
        status = destroy_files(path, lock_path, data, &t, err);
        free(lock_path);
    }
    close(data);
    return status;
}

fr_status segment_destroy(const char *path, fr_error *err) {
    char *real = NULL;
    bool made;
    fr_status status = file_resolve(path, false, 0, &real, &made, err);
    if (status == FR_OK) status = destroy_resolved(real, err);
    free(real);
    return status;
}

/* An entry whose owner is attached, as it is between two looks at its state word; before that word says so, the rest is
 * the last owner's, or half of each. */
static bool read_proc(segment *s, uint32_t slot, proc *out) {
    uint64_t words[sizeof(proc) / 8], *from = (uint64_t *)segment_proc(s, slot);
    do {
        if (STATE_KIND(ld8(from)) != STATE_ATTACHED) return false;
        for (size_t i = 0; i < FR_COUNTOF(words); i++) words[i] = ld8(&from[i]);
    } while (ld8(from) != words[0]);
    memcpy(out, words, sizeof *out);
    return true;
}

static void describe(segment *s, uint32_t slot, const proc *p, process_info *info) {
    *info = (process_info){.slot = slot, .gen = STATE_GEN(p->state), .pid = p->pid, .start_time = p->start_time,
                           .attached_ms = p->attached_ms, .pidns = p->pidns, .latched = p->latched};
    info->self = s->me->word == LATCH_WORD(slot, info->gen);
    info->alive = segment_alive(s, slot, info->gen);
    memcpy(info->name, p->name, sizeof p->name);
    memcpy(info->host, p->host, sizeof p->host);
}

uint32_t segment_process(segment *s, uint32_t from, process_info *info) {
    for (uint32_t slot = from ? from : 1; slot < s->g.slots; slot++) {
        proc p;
        if (!read_proc(s, slot, &p)) continue;
        describe(s, slot, &p, info);
        return slot;
    }
    return 0;
}

#ifdef FRIDGE_HOOKS
void segment_set_dead(segment *s, uint32_t slot, bool dead) { __atomic_store_n(&s->priv->dead[slot], dead, __ATOMIC_RELAXED); }

/* Plain atomic store: not one that a harness counts or cuts off at. */
void segment_become(segment *s, uint32_t slot, uint32_t gen) {
    __atomic_store_n(&segment_proc(s, slot)->state, STATE_MAKE(gen, STATE_ATTACHED), __ATOMIC_RELEASE);
    s->me->slot = slot;
    s->me->word = LATCH_WORD(slot, gen);
    s->stats = SEG_AT(s, s->l.stats, uint64_t) + (uint64_t)slot * s->g.stat_cells;
}
#endif
