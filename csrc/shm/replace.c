/* replace.c - see replace.h. */
#include "shm/replace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "shm/file.h"
#include "shm/format.h"
#include "shm/latch.h"
#include "shm/liveness.h"

#define REPLACE_WAIT_MS 600000 /* a full check and a copy of a large file on a slow disk */
#define DYING_MS 2000          /* a killed process keeps its byte until its memory is gone: 72 ms a GiB */

struct replacement {
    segment *s;
    pin creating;
    draft d;
    uint8_t *copy;
    uint64_t size, before, now; /* wall clock = boot clock + this, on the old boot and on this one */
};

/* --- nobody else -------------------------------------------------------------------------------------------------- */

/* Who has left, or was recovered, stores no more, even if his byte is still held. */
static uint32_t living_slot(segment *s) {
    for (uint32_t slot = 1; slot < s->g.slots; slot++) {
        uint64_t state = ld8(&segment_proc(s, slot)->state);
        if (STATE_KIND(state) == STATE_FREE || STATE_KIND(state) == STATE_FOLDING) continue;
        if (segment_alive(s, slot, STATE_GEN(state))) return slot;
    }
    return 0;
}

static fr_status await_nobody(segment *s, fr_error *err) {
    uint64_t deadline = clock_boot_ms() + DYING_MS;
    uint32_t slot;
    while ((slot = living_slot(s)) != 0) {
        if (clock_boot_ms() >= deadline) {
            return segment_fail(err, FR_ATTACHED,
                                "%s was made on another boot, but a process holds its slot %u: end it, then open it again",
                                s->priv->path, slot);
        }
        usleep(1000);
    }
    return FR_OK;
}

fr_status replace_begin(segment *s, replacement **out, fr_error *err) {
    struct segment_private *p = s->priv;
    replacement *r = calloc(1, sizeof *r);
    if (!r) return segment_fail(err, FR_SYSTEM, "out of memory");
    *r = (replacement){.s = s, .creating = {NULL, -1, 0}, .d = {-1, NULL}};
    fr_status status = FR_OK;
    uint64_t deadline = clock_boot_ms() + REPLACE_WAIT_MS;
    if (!pin_wait(p->lock_path, p->lock_dev, p->lock_ino, BYTE_CREATE, true, deadline, &r->creating)) {
        status = errno == ESTALE || errno == ENOENT
                     ? FR_RETRY
                     : segment_fail(err, FR_SYSTEM, "%s: waiting for another process that takes it into this boot: %s",
                                    p->path, strerror(errno));
    }
    if (status == FR_OK && segment_stale(s)) status = FR_RETRY;
    if (status == FR_OK) status = await_nobody(s, err);
    if (status == FR_OK) *out = r;
    else replace_end(r);
    return status;
}

/* --- the copy ----------------------------------------------------------------------------------------------------- */

static fr_status make_draft(replacement *r, fr_error *err) {
    const char *path = r->s->priv->path;
    struct stat st, own;
    if (stat(path, &st) != 0) return segment_fail(err, FR_SYSTEM, "%s: %s", path, strerror(errno));
    fr_status status = file_draft(path, st.st_mode & 07777, &r->d, err);
    if (status != FR_OK) return status;
    if (fstat(r->d.fd, &own) != 0) return segment_fail(err, FR_SYSTEM, "%s: %s", path, strerror(errno));
    if ((own.st_uid != st.st_uid || own.st_gid != st.st_gid) && fchown(r->d.fd, st.st_uid, st.st_gid) != 0) {
        return segment_fail(err, FR_STRANGER, "%s was made on another boot: let its owner, uid %u, open it first", path,
                            (unsigned)st.st_uid);
    }
    return file_allocate(r->d.fd, path, 0, r->size, err);
}

/* A disk that cannot be read gives zeros by way of the SIGBUS handler, which marks the segment lost. */
static fr_status fill_draft(replacement *r, fr_error *err) {
    void *map = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED, r->d.fd, 0);
    if (map == MAP_FAILED) return segment_fail(err, FR_SYSTEM, "%s: cannot map its copy: %s", r->s->priv->path, strerror(errno));
    r->copy = map;
    memcpy(r->copy, r->s->base, r->size);
    return r->s->lost ? segment_fail(err, FR_LOST, "%s", "") : FR_OK;
}

static fr_status check_rest(replacement *r, fr_error *err) {
    for (uint32_t i = 0; i < r->s->l.latch_count; i++) {
        const stripe *st = (const stripe *)(r->copy + r->s->l.latches + (uint64_t)i * r->s->l.stripe_bytes);
        if (st->latch == 0 && (st->jstate & 0xffff) == 0 && !(st->seq & 1)) continue;
        return segment_fail(err, FR_DAMAGED, "stripe %u is not at rest (latch %08x, journal %llx, seq %llu)", i, st->latch,
                            (unsigned long long)st->jstate, (unsigned long long)st->seq);
    }
    return FR_OK;
}

static void forget_processes(replacement *r) {
    segment *s = r->s;
    proc *procs = (proc *)(r->copy + s->l.procs);
    uint64_t *base = (uint64_t *)(r->copy + s->l.stats);
    for (uint32_t slot = 1; slot < s->g.slots; slot++) procs[slot].state = STATE_MAKE(STATE_GEN(procs[slot].state), STATE_FREE);
    for (uint64_t row = 1; row <= s->g.slots; row++) {
        for (uint32_t i = 0; i < s->g.stat_cells; i++) {
            base[i] += base[row * s->g.stat_cells + i];
            base[row * s->g.stat_cells + i] = 0;
        }
    }
}

static void anchor(replacement *r) {
    superblock *sb = (superblock *)r->copy;
    r->before = sb->wall_offset_ms;
    r->now = clock_wall_ms() - clock_boot_ms();
    sb->wall_offset_ms = r->now;
    sb->size = r->size;
    format_boot_id(sb->boot_id);
    sb->checksum = layout_checksum(sb);
}

fr_status replace_copy(replacement *r, fr_error *err) {
    r->size = ld8(&segment_super(r->s)->size);
    fr_status status = segment_prove(r->s, r->size) ? make_draft(r, err) : segment_fail(err, FR_LOST, "%s", "");
    if (status == FR_OK) status = fill_draft(r, err);
    if (status == FR_OK) status = check_rest(r, err);
    if (status != FR_OK) return status;
    forget_processes(r);
    anchor(r);
    return FR_OK;
}

uint64_t *replace_word(replacement *r, uint64_t off) { return (uint64_t *)(r->copy + off); }

uint64_t replace_moved(const replacement *r, uint64_t t) {
    int64_t by = (int64_t)(r->before - r->now), moved;
    if (t == 0 || t > INT64_MAX) return t;
    if (__builtin_add_overflow((int64_t)t, by, &moved)) return by > 0 ? INT64_MAX : 1;
    return moved < 1 ? 1 : (uint64_t)moved;
}

/* Whole on the disk before it has the name: a power cut must not leave a name for half a file. */
fr_status replace_publish(replacement *r, fr_error *err) {
    if (fdatasync(r->d.fd) != 0) return segment_fail(err, FR_SYSTEM, "%s: fdatasync: %s", r->s->priv->path, strerror(errno));
    return file_replace(&r->d, r->s->priv->path, err);
}

/* --- aside, and the end ------------------------------------------------------------------------------------------- */

static char *aside_name(const char *path, unsigned number) {
    char when[32], *name;
    time_t now = time(NULL);
    struct tm tm;
    strftime(when, sizeof when, "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
    int n = number ? asprintf(&name, "%s.damaged-%s-%u", path, when, number) : asprintf(&name, "%s.damaged-%s", path, when);
    return n < 0 ? NULL : name;
}

fr_status replace_aside(replacement *r, char **name, fr_error *err) {
    const char *path = r->s->priv->path;
    for (unsigned number = 0;; number++) {
        struct stat st;
        *name = aside_name(path, number);
        if (!*name) return segment_fail(err, FR_SYSTEM, "out of memory");
        if (lstat(*name, &st) != 0) break;
        free(*name);
    }
    if (rename(path, *name) == 0) return FR_OK;
    fr_status status = segment_fail(err, FR_SYSTEM, "%s: cannot rename it to %s: %s", path, *name, strerror(errno));
    free(*name);
    *name = NULL;
    return status;
}

void replace_end(replacement *r) {
    if (r->copy) munmap(r->copy, r->size);
    file_discard(&r->d);
    pin_release(&r->creating);
    free(r);
}
