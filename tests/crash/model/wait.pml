/* wait.pml - a model of the notify entry, next to the code it models, for Spin.
 *
 * What is modelled                                  where it is in the code
 *   mark: cas16 of {sleeper, count, filter}           shm/wait.c: mark
 *   mark, look at the key, sleep if it is unchanged   store/waiting.c: watch, doze
 *   change the key, drop the latch, look, ring        shm/txn.c: txn_commit, notify; shm/wait.c: wait_ring_some, ring
 *   a ring that wakes some and leaves the mark        store/lock.c: save; shm/txn.h: txn_wake_some
 *   the futex: sleeps only while the count is the same  the kernel
 *
 * One entry, two keys whose hashes share it, a sleeper for each key (SAME: both for the first), two writers that change a key
 * CHANGES times and may die before any of their steps (DEATHS in all). A step is a load, a store or a swap of the code; what
 * wakes and what sleeps is one step, as in the kernel. Sleepers have a bit each; with SAME a writer changes what concerns
 * one of them (its place in a lock's line), and rings for that one only.
 *
 * Claims
 * 1. When all writers have come to their end and nobody has died, no sleeper sleeps whose key has changed since it looked.
 * 2. With a death such a sleeper may sleep on, and nothing is lost but time: at the end of its slice (wait_sleep's limit) it
 *    looks, and has then seen the last change.
 *
 * Left out: doorbells (the same mark, and a count of their own), several entries, memory orders: swaps and the dropped latch are
 * full barriers, which wait.h asks for.
 * Mutants (MUTANT=1..6; 5 and 6 with SAME) must each violate a claim; tests/test_model.py runs them.
 */
#ifndef MUTANT
#define MUTANT 0
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef SAME
#define SAME 0
#endif
#ifndef CHANGES
#define CHANGES 1
#endif
#define KEY_OF(me) (SAME -> 0 : me)
#define ALL 3

byte version[2];         /* of a sleeper's concern: key and place in its line */
bool marked;             /* SLEEPER of the entry's value */
byte count;              /* the futex: the count of the entry's value */
bool filter[2];          /* the entry's state: which keys */
bool asleep[2];
byte slept_at[2];        /* the count with which each sleeper went to sleep */
byte looked[2];          /* what each sleeper saw last */
byte ended, deaths;

inline wake(bits) {
    d_step {
        if :: (bits & 1) && asleep[0] -> asleep[0] = false :: else fi;
        if :: (bits & 2) && asleep[1] -> asleep[1] = false :: else fi
    }
}

proctype sleeper(byte me) {
    byte seen_count;
again:
    if
    :: MUTANT == 1 -> looked[me] = version[me] /* looks before it marks */
    :: else
    fi;
    d_step { /* cas16: a mark that was alone starts a new filter */
        if
        :: !marked -> filter[0] = false; filter[1] = false
        :: else
        fi;
        marked = true;
        filter[KEY_OF(me)] = true;
        seen_count = count
    }
    if
    :: MUTANT != 1 -> looked[me] = version[me]
    :: else
    fi;
    if
    :: looked[me] == 2 * CHANGES -> goto done /* all there will be has been seen */
    :: else
    fi;
    d_step { /* FUTEX_WAIT: the kernel compares and sleeps in one step */
        if
        :: MUTANT == 2 || count == seen_count -> asleep[me] = true; slept_at[me] = seen_count
        :: else
        fi
    }
endsleep:
    !asleep[me]; /* woken, or not even slept */
    goto again;
done:
    skip
}

#define MAY_DIE if :: deaths < DEATHS -> deaths++; goto end :: true fi

proctype writer() {
    byte n, whom, bits;
    bool seen_marked, hit;
    do
    :: n < CHANGES ->
        n++;
        if :: whom = 0 :: whom = 1 fi;
        if
        :: SAME && MUTANT != 5 -> bits = 1 << whom
        :: SAME && MUTANT == 5 -> bits = 2 - whom /* somebody else's bit */
        :: else -> bits = ALL
        fi;
        if
        :: MUTANT == 3 -> hit = marked && filter[KEY_OF(whom)] /* looks before it changes */
        :: else
        fi;
        MAY_DIE;
        version[whom]++;
        MAY_DIE;
        if
        :: MUTANT == 3 -> skip
        :: else ->
            seen_marked = marked;
            hit = seen_marked && filter[KEY_OF(whom)] /* two loads: another writer may ring in between */
        fi;
        MAY_DIE;
        if
        :: hit ->
            hit = false;
            d_step { /* cas16 in ring */
                if
                :: marked ->
                    hit = true;
                    if :: MUTANT != 4 -> count++ :: else fi;
                    if :: bits == ALL || MUTANT == 6 -> marked = false; filter[0] = false; filter[1] = false :: else fi
                :: else
                fi
            }
            MAY_DIE;
            if :: hit -> wake(bits) :: else fi
        :: else
        fi
    :: else -> break
    od;
end:
    ended++
}

/* `timeout`: everybody has come to an end, or sleeps. Then all slices end. */
active proctype observer() {
    timeout;
    assert(deaths > 0 || !asleep[0] || looked[0] == version[0]);
    assert(deaths > 0 || !asleep[1] || looked[1] == version[1]);
    d_step { asleep[0] = false; asleep[1] = false };
    timeout;
    assert(ended == 2);
    assert(looked[0] == version[0] && looked[1] == version[1])
}

init {
    atomic { run sleeper(0); run sleeper(1); run writer(); run writer() }
}
