/* commit.pml - a model of latch, commit, recovery and slot reuse, next to the code it models, for Spin.
 *
 * What is modelled                         where it is in the code
 *   latch word {slot, gen}, cas, release     shm/latch.c, latch.h
 *   journal, commit store, apply in passes   shm/txn.c: commit_writes; shm/journal.h: journal_apply
 *   recovery under one byte per dead slot    shm/liveness.c: segment_recover_slot; shm/recovery.c: recovery_run
 *   slot reuse: recover first, then gen + 1  shm/segment.c: registration
 *   reader: odd version -> overlay, re-check shm/txn.c: txn_overlay, guard_holds; store/block.c: block_head
 *
 * One stripe, one block of two words under one version, two slots whose processes die at any step (DEATHS in all) and are
 * followed by another process in the same slot. Each statement between two arrows is one store or load of the code.
 *
 * Claims
 * 1. A reader never sees the two words of different transactions (no torn value).
 * 2. A reader never sees a value older than one it has seen (nothing is undone).
 * 3. Whoever holds the latch finds the words at rest: equal, version even, journal clean.
 * 4. What was acknowledged (latch released after commit) is never lost.
 * 5. Two processes never hold the latch at once; the latch never stays with the dead (no invalid end state).
 *
 * Left out: several stripes (tests/crash/enumerate covers them by every store), memory orders (tests under TSan).
 * Mutants (MUTANT=1..6) must each violate a claim; tests/test_model.py runs them.
 */
#ifndef MUTANT
#define MUTANT 0
#endif
#ifndef DEATHS
#define DEATHS 2
#endif
#ifndef TXNS
#define TXNS 2
#endif
#define FREE 0
#define WORD(slot, gen) ((gen) * 2 + (slot) + 2)
#define SLOT(word) (((word) - 2) % 2)
#define GEN(word) (((word) - 2) / 2)

byte latch = FREE;
bool alive[2];
byte gen[2];
bool recovering[2];        /* the kernel lock of a slot's recovery byte: gone with its holder */
byte jtxn, jn;             /* jstate: txnid and n, one word */
byte jvalue, jversion;     /* the records */
byte version, a, b;        /* the block */
byte txns, deaths, acked, holders;

#define JSTATE(t, n) d_step { jtxn = t; jn = n }

/* May die before any of its stores. */
#define MAY_DIE if :: deaths < DEATHS -> goto dead :: true fi

inline replay() {
    if
    :: MUTANT != 1 && jn == 1 ->
        MAY_DIE; version = jversion | 1;
        MAY_DIE; a = jvalue;
        MAY_DIE; b = jvalue;
        MAY_DIE; version = jversion;
        MAY_DIE; JSTATE(jtxn, 0)
    :: MUTANT == 1 && jn == 1 -> JSTATE(jtxn, 0) /* no replay */
    :: else
    fi
}

/* Makes the process (slot s, generation g) harmless, if it is dead. */
inline recover(s, g) {
    atomic { !recovering[s] -> recovering[s] = true; mine = s }
    if
    :: latch == WORD(s, g) && (gen[s] != g || !alive[s]) ->
        replay();
        MAY_DIE;
        if :: latch == WORD(s, g) -> d_step { latch = FREE; if :: holders > 0 -> holders-- :: else fi } :: else fi
    :: else
    fi
    recovering[s] = false;
    mine = 2
}

inline critical() {
    assert(holders == 1);
    if
    :: MUTANT == 0 -> assert(a == b && !(version & 1) && jn == 0)
    :: else
    fi;
    value = txns + 1;
    jvalue = value;
    MAY_DIE; jversion = version + 2;
    if
    :: MUTANT == 2 -> skip /* commit store dropped: applied without a journal */
    :: else -> MAY_DIE; JSTATE(jtxn + 1, 1)
    fi;
    txns = value; /* ghost: committed */
    if
    :: MUTANT != 3 -> MAY_DIE; version = jversion | 1
    :: else -> skip /* version bumped once, after the words */
    fi;
    MAY_DIE; a = value;
    MAY_DIE; b = value;
    MAY_DIE; version = jversion;
    if
    :: MUTANT == 4 -> d_step { latch = FREE; holders-- }; JSTATE(jtxn, 0) /* unlocked before the journal is clean */
    :: else ->
        MAY_DIE; JSTATE(jtxn, 0);
        MAY_DIE; d_step { latch = FREE; holders--; acked = value }
    fi
}

proctype process(byte me) {
    byte value, seen, mine = 2;
    /* Register: what the slot's last life left is recovered before the generation moves. */
    if
    :: latch == WORD(me, gen[me]) && !alive[me] -> recover(me, gen[me])
    :: else
    fi;
    d_step { gen[me] = gen[me] + 1; alive[me] = true };
    do
    :: txns < TXNS ->
        seen = latch;
        if
        :: seen == FREE ->
            if
            :: atomic { latch == FREE -> latch = WORD(me, gen[me]); holders++ };
                critical()
            :: latch != FREE -> skip
            fi
        :: seen != FREE && (MUTANT == 5 || gen[SLOT(seen)] != GEN(seen) || !alive[SLOT(seen)]) ->
            if
            :: MUTANT == 5 -> d_step { latch = WORD(me, gen[me]); holders++ }; critical() /* robs the living */
            :: else -> recover(SLOT(seen), GEN(seen))
            fi
        :: else -> latch != seen || !alive[SLOT(seen)] /* wait */
        fi
    :: else -> break
    od;
    goto end;
dead:
    atomic {
        deaths++;
        alive[me] = false;
        if :: mine < 2 -> recovering[mine] = false :: else fi;
        run process(me)
    };
end: skip
}

/* Reads for ever so often; needs no slot. */
proctype reader() {
    byte v, x, y, last, tries;
    byte j, n, jv;
    do
    :: tries < 2 ->
        tries++;
        v = version;
        if
        :: v & 1 ->
            d_step { j = jtxn; n = jn };
            if
            :: n == 0 -> skip /* clean again: start over */
            :: n > 0 && MUTANT != 6 && !(version & 1) -> skip /* the odd version was an earlier transaction's */
            :: n > 0 && (MUTANT == 6 || (version & 1)) ->
                jv = jvalue;
                if
                :: jtxn == j && jn == n -> x = jv; y = jv; assert(x >= last); last = x
                :: else -> skip
                fi
            fi
        :: else ->
            x = a;
            y = b;
            if
            :: version == v -> assert(x == y); assert(x >= last); last = x
            :: else -> skip
            fi
        fi
    :: else -> break
    od;
    assert(a >= acked || jn == 1 || last >= acked || acked <= txns)
}

init {
    atomic { run process(0); run process(1); run reader() };
    (_nr_pr == 1);
    assert(latch == FREE && jn == 0 && a == b && a == txns && a >= acked && !(version & 1))
}
