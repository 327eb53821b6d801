/* format.c - see format.h. The only place where shared bytes are stored plainly: the file has no name yet. */
#include "shm/format.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include "shm/segment_private.h"

void format_boot_id(uint8_t id[16]) {
    char text[64] = "";
    memset(id, 0, 16);
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    unsigned digits = 0;
    for (ssize_t i = 0; i < n && digits < 32; i++) {
        const char *hex = "0123456789abcdef", *at = text[i] ? strchr(hex, text[i]) : NULL;
        if (!at) continue;
        id[digits / 2] = (uint8_t)(id[digits / 2] << 4 | (at - hex));
        digits++;
    }
}

static fr_status draw_random(void *to, size_t n, fr_error *err) {
    while (getrandom(to, n, 0) != (ssize_t)n) { /* up to 256 bytes come whole or not at all */
        if (errno != EINTR) return segment_fail(err, FR_SYSTEM, "getrandom: %s", strerror(errno));
    }
    return FR_OK;
}

/* The test geometry gets a constant secret, so that an enumeration that failed can be repeated. */
static fr_status draw_identity(superblock *sb, fr_error *err) {
    geometry test = layout_test();
    if (memcmp(&sb->g, &test, sizeof test) == 0) {
        for (unsigned i = 0; i < 4; i++) sb->hash_secret[i] = UINT64_C(0x9e3779b97f4a7c15) * (i + 1);
        memset(sb->uuid, 0x5a, sizeof sb->uuid);
        return FR_OK;
    }
    fr_status status = draw_random(sb->hash_secret, sizeof sb->hash_secret, err);
    return status == FR_OK ? draw_random(sb->uuid, sizeof sb->uuid, err) : status;
}

fr_status format_superblock(const geometry *g, uint64_t lock_ino, superblock *sb, fr_error *err) {
    memset(sb, 0, sizeof *sb);
    sb->magic = LAYOUT_MAGIC;
    sb->version = LAYOUT_VERSION;
    sb->layout_hash = layout_hash();
    sb->g = *g;
    sb->lock_ino = lock_ino;
    sb->created_ms = clock_wall_ms();
    sb->creator_uid = geteuid();
    format_boot_id(sb->boot_id);
    fr_status status = draw_identity(sb, err);
    sb->checksum = layout_checksum(sb);
    return status;
}

/* Space 0 is never used, so that a zero word names no space. */
void format_segment(segment *s, superblock *sb, uint64_t size) {
    uint64_t *spaces = SEG_AT(s, s->l.spaces, uint64_t), *poolmap = SEG_AT(s, s->l.poolmap, uint64_t);
    sb->size = size;
    sb->wall_offset_ms = clock_wall_ms() - clock_boot_ms();
    sb->shared_settings[SETTING_SAMPLES] = 5;
    sb->shared_settings[SETTING_MAX_VALUE] = UINT64_C(64) << 20;
    sb->shared_settings[SETTING_LATCH_TIMEOUT] = 200;
    for (unsigned i = 0; i <= DB_SYSTEM; i++) {
        sb->db[i] = i + 1;
        spaces[i + 1] = SPACE_MAKE(SPACE_DB, i);
    }
    for (uint64_t page = 0; page < s->l.data / s->g.page_size; page++) poolmap[page / 64] |= UINT64_C(1) << (page % 64);
    for (uint32_t i = 0; i < s->l.latch_count; i++) {
        segment_stripe(s, i)->clock = 2;
        segment_stripe(s, i)->coord = i; /* its own journal, as for most of its life */
    }
    memcpy(s->base, sb, sizeof *sb);
}
