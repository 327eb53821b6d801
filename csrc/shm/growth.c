/* growth.c - the size of a segment: proving what is there, taking more, saying what there is room for.
 *
 * Invariant: size is raised only after fallocate(2) gave the memory, and never falls (layout.h, 2). Whoever is killed
 * in between leaves a file that is longer than its header says, which harms nobody and is used by the next growth.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "shm/file.h"
#include "shm/latch.h"
#include "shm/room.h"
#include "shm/segment_private.h"

#define GROW_STEP (UINT64_C(4) << 20)
#define GROW_WHOLE (UINT64_C(2) << 20) /* a huge page: only whole ones are given as such everywhere (huge.h) */
#define GROW_LEAST (UINT64_C(64) << 10)

/* Reading a page through the kernel, which answers with an error where a load would answer with SIGBUS. */
static bool page_is_there(uint8_t *at) {
    uint8_t *page = (uint8_t *)((uintptr_t)at & ~(system_page() - 1));
    char byte;
#ifdef MADV_POPULATE_READ
    if (madvise(page, system_page(), MADV_POPULATE_READ) == 0) return true;
    if (errno != EINVAL) return false; /* kernels before 5.14 do not know it */
#endif
    struct iovec to = {&byte, 1}, from = {at, 1};
    return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1;
}

bool segment_prove(segment *s, uint64_t end) {
    if (!s->base) return false;
    uint64_t size = ld8(&segment_super(s)->size), bound = __atomic_load_n(&s->bound, __ATOMIC_RELAXED);
    if (size > s->g.max_size) size = s->g.max_size;
    size -= size % s->g.page_size;
    if (end > size || s->lost || !page_is_there(s->base + size - 1)) return false;
    while (bound < size &&
           !__atomic_compare_exchange_n(&s->bound, &bound, size, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    return true;
}

/* The data descriptor, opened again when a closerange took it. The caller closes *opened if it is not -1. */
static int data_fd(segment *s, int *opened) {
    struct stat st;
    *opened = -1;
    if (fstat(s->priv->fd, &st) == 0 && st.st_dev == s->file_dev && st.st_ino == s->file_ino) return s->priv->fd;
    int fd = open(s->priv->path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return -1;
    *opened = fd;
    return fstat(fd, &st) == 0 && st.st_dev == s->file_dev && st.st_ino == s->file_ino ? fd : -1;
}

/* A sixteenth of the segment at a time, at least 64 KiB; less when that is all that is left, and when a large step then
 * ends where a huge page does. */
static uint64_t grow_target(segment *s, uint64_t size, int fd) {
    char why[ROOM_WHY];
    uint64_t step = s->g.max_size / 16, room = room_left(fd, why);
    if (step > GROW_STEP) step = GROW_STEP;
    if (step < GROW_LEAST) step = GROW_LEAST;
    if (step > room && room >= system_page()) step = room & ~(system_page() - 1);
    uint64_t to = FR_ALIGN(size + step, (uint64_t)4096);
    if (step == GROW_STEP) to -= to % GROW_WHOLE;
    return to > s->g.max_size ? s->g.max_size : to;
}

/* The memory is there; say so. Two growers allocate the same range, which is harmless; the latch keeps the slower one
 * from making the size fall. */
static fr_status publish_size(segment *s, uint64_t size, fr_error *err) {
    uint64_t *word = &segment_super(s)->size;
    fr_status status = latch_take(s, segment_pool_latch(s), clock_boot_ms() + segment_latch_timeout(s), err);
    if (status != FR_OK) return status;
    if (ld8(word) < size) st8(word, size);
    latch_drop(s, segment_pool_latch(s));
    stat_add(s, STAT_growths, 1);
    return s->lost ? segment_fail(err, FR_LOST, "%s: the file was truncated or removed", s->priv->path) : FR_OK;
}

static fr_status extend(segment *s, uint64_t size, fr_error *err) {
    int opened, fd = data_fd(s, &opened);
    fr_status status;
    if (fd < 0) {
        status = segment_fail(err, FR_LOST, "%s is no longer the file that is mapped: it cannot grow", s->priv->path);
    } else {
        uint64_t to = grow_target(s, size, fd);
        status = file_allocate(fd, s->priv->path, size, to, err);
        if (status == FR_OK) status = publish_size(s, to, err);
    }
    if (opened >= 0) close(opened);
    return status;
}

fr_status segment_grow(segment *s, fr_error *err) {
    fr_error local;
    if (!err) err = &local;
    if (s->readonly) return segment_fail(err, FR_READONLY, "%s", "");
    fr_status status = segment_register(s, err);
    if (status != FR_OK) return status;
    uint64_t size = ld8(&segment_super(s)->size);
    if (size >= s->g.max_size) {
        return segment_fail(err, FR_OOM, "the segment %s is full: its size is %llu MiB", s->priv->path,
                            (unsigned long long)(s->g.max_size >> 20));
    }
    if (size < s->l.data || size % s->g.page_size) {
        return segment_fail(err, FR_DAMAGED, "%s: the header says %llu bytes", s->priv->path, (unsigned long long)size);
    }
    return extend(s, size, err);
}

static int open_nearest_directory(const char *path) {
    char *dir = strdup(path);
    int fd = -1;
    while (dir && fd < 0) {
        char *slash = strrchr(dir, '/');
        if (!slash) {
            fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            break;
        }
        bool root = slash == dir;
        slash[root] = 0;
        fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (root) break;
    }
    free(dir);
    return fd;
}

bool segment_size_warning(const char *path, uint64_t size, char *text, size_t n) {
    char why[ROOM_WHY] = "";
    struct stat st;
    if (n) text[0] = 0;
    int fd = open_nearest_directory(path);
    if (fd < 0) return false;
    uint64_t there = lstat(path, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_blocks * 512 : 0;
    uint64_t room = room_left(fd, why);
    close(fd);
    if (size <= there || size - there <= room) return false;
    snprintf(text, n, "%s may grow to %llu MiB, but %s; writes will be refused when that is used up", path,
             (unsigned long long)(size >> 20), why);
    return true;
}
