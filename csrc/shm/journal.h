/* journal.h - a stripe's redo journal: the words that a transaction is about to store, where recovery and readers find them.
 *
 * BYTES, in struct stripe (layout.h)
 *     jstate   bits 0..15   n: 0 = clean; up to g.journal_records: so many records in journal[]; JOURNAL_SPILLED: jcount
 *                           records in spill pages. Other than 0: committed, and perhaps not applied yet
 *              bits 16..63  txnid: steps with each commit
 *     jspill   offset of the first spill page
 *     jcount   records in all of them
 *     intents  how many counter cells are frozen; intent[]: their offsets
 *     journal  records of 16 bytes:
 *              0   target: offset of an 8-byte word, the record's kind (enum record_kind) in the low 3 bits
 *              8   value: what the word becomes
 * and of a spill page
 *     0        offset of the next one; of the last one anything
 *     16       records, (page_size - 16) / 16 of them
 *
 * LIFE. Clean: the latch holder writes records, which nobody believes yet. ONE store of jstate commits them. Applying stores
 * their words in three passes: version words, odd; plain words; version words as they shall be, and counter cells, still
 * frozen. A second store of jstate, same txnid, n = 0, makes the journal clean; then the frozen cells are thawed. Whoever
 * dies before the first store leaves nothing, whoever dies after it leaves a replay: the three passes again. Nothing is
 * ever undone.
 *
 * Invariants
 * 1. Values are absolute, so a replay may stop anywhere and begin anew. Of several records of one word the last one
 *    counts, in a pass as in a look-up.
 * 2. A txnid never repeats in a stripe (48 bits), so "jstate unchanged" means "no transaction in between".
 * 3. While records lie in spill pages the page pool latch is held, so nobody can allocate those pages, though their bits
 *    in the pool are 0. A crash leaves nothing to give back.
 * 4. A frozen counter cell is named by an intent of a stripe whose latch is held. It stays frozen until the journal that
 *    writes it is clean again: others would add to it, and a replay would take their sums away.
 * 5. A journal that was found stores nothing unless every record may be stored: no target lies beyond the segment, in its
 *    immutable half, its process table, its notify entries or access bytes, or in a latch, clock, intent or journal. Each
 *    is looked at again when its turn comes, since spill pages are words that records can change.
 *
 * Leaves out: which words a transaction changes, which latches it holds and which pages are free (txn.h); when a reader
 * has to look into a journal, and whether what it read there holds (txn.h, VISIBILITY and READER); whose journals are
 * recovered, and in which order (recovery.h).
 */
#ifndef FRIDGE_SHM_JOURNAL_H
#define FRIDGE_SHM_JOURNAL_H

#include "shm/segment.h"

#define JSTATE_COUNT(j) ((uint32_t)((j) & 0xffff))
#define JSTATE_NEXT(j, n) ((((j) >> 16) + 1) << 16 | (n))
#define JSTATE_CLEAN(j) ((j) & ~UINT64_C(0xffff))

#define JOURNAL_MAX (UINT32_C(1) << 24) /* records, 256 MiB: a longer write set is FR_OOM, a longer journal damage */

/* Bit of a counter cell's state: a transaction has it. The other bits are store/counter.h's. */
#define CELL_FROZEN UINT64_C(2)

typedef struct record record;

static inline uint64_t record_off(uint64_t target) { return target & ~(uint64_t)RECORD_KIND; }

/* --- writing ----------------------------------------------------------------------------------------------------- */

/* What the last pass stores: invariant 4. */
static inline uint64_t record_settled(uint64_t kind, uint64_t value) {
    return kind == RECORD_CELL ? value | CELL_FROZEN : value;
}

/* journal_apply is the three passes of a replay for those who have the records at hand. */
static inline void journal_apply(segment *s, const record *rec, uint32_t n) {
    bool staged = false;
    for (uint32_t i = 0; i < n; i++) {
        if ((rec[i].target & RECORD_KIND) == RECORD_WORD) continue;
        staged = true;
        if ((rec[i].target & RECORD_KIND) == RECORD_VERSION) {
            st8(SEG_AT(s, record_off(rec[i].target), uint64_t), rec[i].value | 1);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        if ((rec[i].target & RECORD_KIND) == RECORD_WORD) st8(SEG_AT(s, rec[i].target, uint64_t), rec[i].value);
    }
    for (uint32_t i = 0; staged && i < n; i++) {
        uint64_t kind = rec[i].target & RECORD_KIND;
        if (kind == RECORD_WORD) continue;
        st8(SEG_AT(s, record_off(rec[i].target), uint64_t), record_settled(kind, rec[i].value));
    }
}

/* Records on their way into spill pages, one page after the other. */
typedef struct journal_spill {
    segment *s;
    stripe *st;
    const record *rec;
    uint32_t n, done;
    uint64_t *link; /* where the next page's offset goes */
} journal_spill;

static inline journal_spill journal_spill_begin(segment *s, stripe *st, const record *rec, uint32_t n) {
    return (journal_spill){s, st, rec, n, 0, &st->jspill};
}

/* journal_pages: how many pages n records take. */
uint64_t journal_pages(const segment *s, uint64_t n);

/* journal_spill_page fills the page at off with records that are still to come; those of the last page are jcount. False:
 * the page is not backed by the file. */
bool journal_spill_page(journal_spill *to, uint64_t off);

/* --- reading ----------------------------------------------------------------------------------------------------- */

/* journal_each gives all records of the journal of stripe `number`, in the order in which they were written, to `take`;
 * the journal may be changing underneath. False: its head is not believable, none were given. */
bool journal_each(segment *s, uint32_t number, uint64_t jstate, void (*take)(void *ctx, const record *r), void *ctx);

/* journal_find is the value that a journal gives to the word at off. False: none. */
bool journal_find(segment *s, uint32_t number, uint64_t jstate, uint64_t off, uint64_t *value);

/* --- recovery ---------------------------------------------------------------------------------------------------- */

/* journal_thaw frees the cells that a stripe's intents name. Its journal is clean. */
void journal_thaw(segment *s, stripe *st);

/* journal_recover replays what a stripe's dead owner had committed, makes the journal clean and thaws. A journal that is not
 * believable is FR_DAMAGED: it stays, superblock.damaged names the stripe; under DAMAGE_FORGIVEN it is dropped instead. */
fr_status journal_recover(segment *s, uint32_t number);

#endif
