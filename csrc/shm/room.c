/* room.c - see room.h. A page of a tmpfs file over a memory limit is no error but an OOM kill of whoever touches it, so
 * the limit is looked at before every growth (some 100 us, against 1-2 ms for the 4 MiB that follow). */
#include "shm/room.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#define MAGIC_TMPFS 0x01021994
#define MAGIC_RAMFS 0x858458f6
#define UNLIMITED (UINT64_C(1) << 60) /* v1 says "no limit" with a number near 2^63 */

/* The two hierarchies spell the same facts differently. */
struct hierarchy {
    const char *mount, *limit, *usage, *active, *inactive;
};
static const struct hierarchy v1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                                    "\ntotal_active_file ", "\ntotal_inactive_file "};
static const struct hierarchy v2 = {"/sys/fs/cgroup", "memory.max", "memory.current", "\nactive_file ",
                                    "\ninactive_file "};

static bool read_text(const char *path, char *buf, size_t n) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t got = read(fd, buf, n - 1);
    close(fd);
    if (got <= 0) return false;
    buf[got] = 0;
    return true;
}

static bool read_group(const struct hierarchy *h, const char *group, const char *file, char *buf, size_t n) {
    char path[1024];
    if (snprintf(path, sizeof path, "%s%s/%s", h->mount, group, file) >= (int)sizeof path) return false;
    return read_text(path, buf, n);
}

static uint64_t number_after(const char *text, const char *word) {
    const char *at = strstr(text, word);
    return at ? strtoull(at + strlen(word), NULL, 10) : 0;
}

/* What one group still allows. Page cache of ordinary files counts as usage but is given up under pressure. */
static uint64_t group_room(const struct hierarchy *h, const char *group, uint64_t *limit) {
    char text[8192];
    if (!read_group(h, group, h->limit, text, sizeof text) || text[0] == 'm') return UINT64_MAX;
    *limit = strtoull(text, NULL, 10);
    if (*limit >= UNLIMITED || !read_group(h, group, h->usage, text, sizeof text)) return UINT64_MAX;
    uint64_t used = strtoull(text, NULL, 10), cache = 0;
    if (read_group(h, group, "memory.stat", text, sizeof text)) {
        cache = number_after(text, h->active) + number_after(text, h->inactive);
    }
    used = used > cache ? used - cache : 0;
    return *limit > used ? *limit - used : 0;
}

static uint64_t hierarchy_room(const struct hierarchy *h, char *group, char *why) {
    uint64_t least = UINT64_MAX;
    for (;;) {
        uint64_t limit = 0, room = group_room(h, group, &limit);
        if (room < least) {
            least = room;
            snprintf(why, ROOM_WHY, "the memory limit of control group %.80s is %llu MiB", *group ? group : "/",
                     (unsigned long long)(limit >> 20));
        }
        char *slash = strrchr(group, '/');
        if (!slash) return least;
        *slash = 0; /* its parent; "" is the root of what is mounted here */
    }
}

/* One line of /proc/self/cgroup: "0::/path" is v2, "4:memory:/path" is v1. */
static uint64_t line_room(char *line, char *why) {
    char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group) return UINT64_MAX;
    *group++ = 0;
    const struct hierarchy *h = strcmp(controllers, ":") == 0 ? &v2 : strcmp(controllers, ":memory") == 0 ? &v1 : NULL;
    if (!h) return UINT64_MAX;
    if (strcmp(group, "/") == 0) *group = 0;
    return hierarchy_room(h, group, why);
}

static uint64_t groups_room(char *why) {
    char text[4096], *rest = text, *line, reason[ROOM_WHY];
    uint64_t least = UINT64_MAX;
    if (!read_text("/proc/self/cgroup", text, sizeof text)) return least;
    while ((line = strsep(&rest, "\n"))) {
        uint64_t room = line_room(line, reason);
        if (room >= least) continue;
        least = room;
        memcpy(why, reason, ROOM_WHY);
    }
    return least;
}

static uint64_t file_system_room(int fd, char *why) {
    struct statvfs fs;
    if (fstatvfs(fd, &fs) != 0 || fs.f_blocks == 0) return UINT64_MAX; /* a tmpfs without limit has no blocks */
    uint64_t blocks = geteuid() == 0 ? fs.f_bfree : fs.f_bavail, bytes = blocks * fs.f_frsize;
    snprintf(why, ROOM_WHY, "the file system has %llu KiB free of %llu MiB", (unsigned long long)(bytes >> 10),
             (unsigned long long)(fs.f_blocks * fs.f_frsize >> 20));
    return bytes;
}

static bool in_memory(int fd) {
    struct statfs fs;
    return fstatfs(fd, &fs) == 0 && ((uint32_t)fs.f_type == MAGIC_TMPFS || (uint32_t)fs.f_type == MAGIC_RAMFS);
}

uint64_t room_left(int fd, char *why) {
    char reason[ROOM_WHY];
    why[0] = 0;
    uint64_t least = file_system_room(fd, why);
    uint64_t room = in_memory(fd) ? groups_room(reason) : UINT64_MAX;
    if (room < least) {
        least = room;
        memcpy(why, reason, ROOM_WHY);
    }
    return least;
}
