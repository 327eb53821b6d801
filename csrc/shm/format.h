/* format.h - what a new segment holds. Leaves out: where it lies, file or anonymous memory (segment.c). */
#ifndef FRIDGE_SHM_FORMAT_H
#define FRIDGE_SHM_FORMAT_H

#include "shm/segment.h"

/* format_boot_id: the kernel's id of this boot, zeros when it does not say. */
void format_boot_id(uint8_t id[16]);

/* format_superblock fills the immutable half of sb, checksum included. */
fr_status format_superblock(const geometry *g, uint64_t lock_ino, superblock *sb, fr_error *err);

/* format_segment writes a segment of `size` allocated bytes into zeroed memory that nobody else can see. */
void format_segment(segment *s, superblock *sb, uint64_t size);

#endif
