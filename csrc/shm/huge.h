/* huge.h - huge pages under a segment's mapping, where the kernel grants them.
 *
 * Who decides: of a file on tmpfs the mount does (huge=never, advise, within_size or always), unless
 * /sys/kernel/mm/transparent_hugepage/shmem_enabled says deny or force. A plain /dev/shm is huge=never, and everything
 * here does nothing there. Nothing is asked for that the mount refuses.
 *
 * Worth: a random get over a million keys takes 370 ns instead of 560 (4 KiB pages), as measured by tests/bench/engine.c
 * on a tmpfs with huge=always and one without.
 *
 * It is a hint: a refusal changes nothing but speed and is not an error. Memory comes from fallocate(2), which knows no
 * mapping: under huge=within_size and always it gives huge pages at once; under huge=advise it gives small ones, which
 * khugepaged puts together in the course of time.
 *
 * MADV_COLLAPSE, which would do that at once, is not used. On Linux 6.18 it maps a huge page that fallocate has given
 * and nobody has touched without having it cleared; the next read(2) of the file clears it, with what was stored there
 * (seen: fallocate, mmap, MADV_COLLAPSE, store, pread gives zeros, and so does the mapping from then on).
 *
 * Leaves out: alignment of the mapping, which the kernel sees to for files on such mounts.
 */
#ifndef FRIDGE_SHM_HUGE_H
#define FRIDGE_SHM_HUGE_H

#include "base.h"

/* huge_advise asks for huge pages in the n bytes of a mapping from base on, as they are touched. */
void huge_advise(void *base, uint64_t n);

/* huge_mapped returns how many bytes of the n from base on this process sees through huge pages, as the kernel counts
 * them (smaps, ShmemPmdMapped and FilePmdMapped); 0 when it cannot be asked. Reads /proc: milliseconds. */
uint64_t huge_mapped(const void *base, uint64_t n);

#endif
