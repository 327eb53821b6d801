/* huge.c - see huge.h. */
#include "shm/huge.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>

void huge_advise(void *base, uint64_t n) { madvise(base, n, MADV_HUGEPAGE); }

/* A mapping's first line in smaps has its range; the lines of its facts begin with a name, which may look like the
 * beginning of one: "Anonymous" has an A. */
static bool is_range(const char *line, uint64_t *from, uint64_t *to) {
    uint64_t a, b;
    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &a, &b) != 2) return false;
    *from = a;
    *to = b;
    return true;
}

static uint64_t huge_kib(const char *line) {
    uint64_t kib;
    return sscanf(line, "ShmemPmdMapped: %" SCNu64, &kib) == 1 || sscanf(line, "FilePmdMapped: %" SCNu64, &kib) == 1 ? kib : 0;
}

uint64_t huge_mapped(const void *base, uint64_t n) {
    FILE *file = fopen("/proc/self/smaps", "re");
    uint64_t begin = (uintptr_t)base, from = 0, to = 0, kib = 0;
    char line[512];
    if (!file) return 0;
    while (fgets(line, sizeof line, file)) {
        if (is_range(line, &from, &to)) continue;
        if (from >= begin && to <= begin + n) kib += huge_kib(line);
    }
    fclose(file);
    return kib << 10;
}
