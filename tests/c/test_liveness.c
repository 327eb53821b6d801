/* test_liveness.c - the segment as a meeting place of processes: who registers, who is alive, who is recovered:
 * csrc/shm/liveness.c, segment.c. */
#include <sys/syscall.h>

#include "segment_fixture.h"
#include "shm/latch.h"
#include "shm/liveness.h"
#include "shm/txn.h"

static void registering_takes_a_slot(void) {
    fresh();
    segment_options o = creating;
    o.name = "tester";
    segment *s = opened(&o);
    process_info info;
    stat_add(s, STAT_keyspace_hits, 3); /* before there is a row */
    CHECK(s->me->word == 0 && segment_process(s, 1, &info) == 0);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    uint32_t word = s->me->word;
    CHECK(s->me->slot == 1 && word == LATCH_WORD(1, 1) && s->beacon_pinned);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    CHECK(s->me->word == word && segment_alive(s, 1, 1) && !segment_alive(s, 1, 2));
    CHECK(stat_sum(s, STAT_keyspace_hits) == 3);
    CHECK(segment_process(s, 1, &info) == 1 && info.self && info.alive && info.pid == (uint64_t)getpid());
    CHECK(strcmp(info.name, "tester") == 0 && info.gen == 1 && info.start_time > 0 && info.pidns > 0 && info.host[0]);
    CHECK(segment_process(s, 2, &info) == 0);
    segment_close(s);
}

static void two_handles_are_two_slots(void) {
    fresh();
    segment *a = opened(&creating), *b = opened(&attaching);
    CHECK_STATUS(segment_register(a, &err), FR_OK);
    CHECK_STATUS(segment_register(b, &err), FR_OK);
    CHECK(a->me->slot == 1 && b->me->slot == 2 && segment_alive(b, 1, 1) && segment_alive(a, 2, 1));
    segment_close(b);
    CHECK(!segment_alive(a, 2, 1));
    segment_close(a);
}

static void a_killed_process_reads_dead(void) {
    fresh();
    segment *s = opened(&creating);
    child c = spawn(live_until_told);
    await(c.from);
    CHECK(segment_alive(s, 1, 1));
    killed(&c);
    CHECK(!segment_alive(s, 1, 1));
    segment_close(s);
}

static void a_stopped_process_reads_alive(void) {
    fresh();
    segment *s = opened(&creating);
    child c = spawn(live_until_told);
    await(c.from);
    kill(c.pid, SIGSTOP);
    waitpid(c.pid, NULL, WUNTRACED);
    CHECK(segment_alive(s, 1, 1));
    CHECK_STATUS(segment_recover_slot(s, 1, 1, 0), FR_LATCHED);
    CHECK(segment_reap(s) == 0 && gen_in(s, 1) == 1 && kind_in(s, 1) == STATE_ATTACHED);
    killed(&c);
    CHECK(!segment_alive(s, 1, 1));
    segment_close(s);
}

static segment *inherited;

/* In a fork's child: not registered, and a slot of its own. */
static void check_child_of_fork(segment *s) {
    CHECK(s->me->word == 0 && s->stats == s->priv->idle_stats);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    CHECK(s->me->word != 0 && s->me->slot != 1);
}

static void register_and_fork(void) {
    segment *s = opened(&attaching);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    CHECK(s->me->slot == 1);
    if (fork() == 0) {
        check_child_of_fork(s);
        step(out);
        await(in);
        _exit(0);
    }
    await(in);
}

static void a_forks_child_does_not_pass_for_its_parent(void) {
    fresh();
    segment *s = opened(&creating);
    child c = spawn(register_and_fork);
    await(c.from);
    CHECK(segment_alive(s, 1, 1) && segment_alive(s, 2, 1));
    kill(c.pid, SIGKILL);
    waitpid(c.pid, NULL, 0);
    CHECK(!segment_alive(s, 1, 1)); /* though the child lives, with every descriptor it inherited */
    CHECK(segment_alive(s, 2, 1));
    close_end(c.to);
    CHECK(!await(c.from)); /* it has ended */
    close_end(c.from);
    segment_close(s);
}

static void a_raw_clone_is_nobody(void) {
    fresh();
    segment *s = opened(&creating);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        uint32_t word = s->me->word;
        bool registered = segment_register(s, &err) == FR_OK;
        _exit(word == 0 && registered && s->me->slot == 2 ? 0 : 1);
    }
    int status = -1;
    waitpid((pid_t)pid, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0 && s->me->slot == 1);
    CHECK(segment_alive(s, 1, 1) && !segment_alive(s, 2, 1));
    segment_close(s);
}

static void close_inherited(void) {
    segment_close(inherited);
    step(out);
}

static void closing_in_a_child_leaves_the_parent_alone(void) {
    fresh();
    inherited = opened(&creating);
    CHECK_STATUS(segment_register(inherited, &err), FR_OK);
    child c = spawn(close_inherited);
    ended_well(&c);
    segment *s = opened(&attaching);
    CHECK(segment_alive(s, 1, 1) && kind_in(s, 1) == STATE_ATTACHED);
    segment_close(s);
    segment_close(inherited);
}

static void close_everything(void) {
    segment *s = opened(&attaching);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    for (int fd = 3; fd < 1024; fd++) {
        if (fd != in && fd != out) close(fd);
    }
    for (int fd = 3; fd < 12; fd++) {
        if (fd != in && fd != out) dup2(0, fd); /* what other code opens next */
    }
    step(out);
    await(in);
    CHECK_STATUS(segment_grow(s, &err), FR_OK);
    CHECK(segment_alive(s, 1, 1) && segment_alive(s, 2, 1) && !segment_alive(s, 3, 1));
    step(out);
    await(in);
}

static void closerange_kills_nobody(void) {
    fresh();
    segment *s = opened(&creating);
    child c = spawn(close_everything);
    await(c.from);
    child second = spawn(live_until_told), third;
    await(second.from);
    third = spawn(live_until_told);
    await(third.from);
    killed(&third);
    CHECK(segment_alive(s, 1, 1) && segment_alive(s, 2, 1));
    uint64_t size = ld8(&segment_super(s)->size);
    step(c.to);
    CHECK(await(c.from) && ld8(&segment_super(s)->size) > size && segment_alive(s, 1, 1));
    ended_well(&second);
    ended_well(&c);
    CHECK(!segment_alive(s, 1, 1));
    segment_close(s);
}

static void exec_cat(void) {
    segment *s = opened(&attaching);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    step(out);
    await(in);
    dup2(in, 0);
    dup2(out, 1);
    execl("/bin/sh", "sh", "-c", "echo; read never", (char *)NULL);
    _exit(4);
}

static void exec_gives_up_the_slot(void) {
    fresh();
    segment *s = opened(&creating);
    child c = spawn(exec_cat);
    await(c.from);
    CHECK(segment_alive(s, 1, 1));
    step(c.to);
    CHECK(await(c.from)); /* the new program speaks */
    CHECK(!segment_alive(s, 1, 1));
    reaped(&c);
    segment_close(s);
}

static void take_latch_and_wait(void) {
    segment *s = opened(&attaching);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    stat_add(s, STAT_evicted_keys, 5);
    CHECK_STATUS(latch_take(s, 0, 0, &err), FR_OK);
    CHECK_STATUS(latch_take(s, segment_pool_latch(s), 0, &err), FR_OK);
    step(out);
    await(in);
}

static void the_dead_are_recovered_by_another_process(void) {
    fresh();
    segment *s = opened(&creating);
    child c = spawn(take_latch_and_wait);
    await(c.from);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    CHECK(s->me->slot == 2);
    CHECK_STATUS(segment_recover_slot(s, 1, 1, clock_boot_ms() + 5), FR_LATCHED);
    CHECK(ld4(&segment_stripe(s, 0)->latch) == LATCH_WORD(1, 1));
    killed(&c);
    CHECK_STATUS(segment_recover_slot(s, 1, 1, clock_boot_ms() + 200), FR_OK);
    CHECK(ld4(&segment_stripe(s, 0)->latch) == 0 && ld4(&segment_stripe(s, segment_pool_latch(s))->latch) == 0);
    CHECK(kind_in(s, 1) == STATE_FREE && gen_in(s, 1) == 1);
    CHECK(*(SEG_AT(s, s->l.stats, uint64_t) + STAT_evicted_keys) == 5 && stat_sum(s, STAT_evicted_keys) == 5);
    CHECK_STATUS(segment_recover_slot(s, 1, 1, 0), FR_OK);
    CHECK(stat_sum(s, STAT_evicted_keys) == 5 && stat_sum(s, STAT_deaths_recovered) == 1);
    segment_close(s);
}

/* Everything that a probe needs is gone: nobody knows, so nobody is dead. */
static void a_probe_that_cannot_tell_says_alive(void) {
    char away[160];
    fresh();
    segment *s = opened(&creating);
    child c = spawn(live_until_told);
    await(c.from);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    snprintf(away, sizeof away, "%s.away", lock_path);
    CHECK(rename(lock_path, away) == 0);
    close(s->lock_fd);
    CHECK(segment_alive(s, 1, 1));
    killed(&c);
    CHECK(segment_alive(s, 1, 1));
    CHECK(rename(away, lock_path) == 0);
    CHECK(!segment_alive(s, 1, 1));
    segment_close(s);
}

static void one_recovers_at_a_time(void) {
    pin other;
    fresh();
    segment *s = opened(&creating);
    child c = spawn(take_latch_and_wait);
    await(c.from);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    killed(&c);
    uint64_t dev = s->priv->lock_dev, ino = s->priv->lock_ino;
    CHECK(pin_take(lock_path, dev, ino, BYTE_RECOVER + 1, 0, 1, true, &other) == 0);
    CHECK_STATUS(segment_recover_slot(s, 1, 1, clock_boot_ms() + 20), FR_LATCHED);
    CHECK(ld4(&segment_stripe(s, 0)->latch) == LATCH_WORD(1, 1));
    pin_release(&other);
    CHECK_STATUS(segment_recover_slot(s, 1, 1, clock_boot_ms() + 200), FR_OK);
    CHECK(ld4(&segment_stripe(s, 0)->latch) == 0);
    segment_close(s);
}

static void recovery_under_a_latch_leaves_the_folding_for_later(void) {
    fresh();
    segment *s = opened(&creating);
    child c = spawn(live_until_told);
    await(c.from);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    killed(&c);
    CHECK_STATUS(latch_take(s, 0, 0, &err), FR_OK);
    CHECK_STATUS(segment_recover_slot(s, 1, 1, clock_boot_ms() + 200), FR_OK);
    CHECK(kind_in(s, 1) == STATE_FOLDING && ld4(&segment_stripe(s, 0)->latch) == s->me->word);
    latch_drop(s, 0);
    CHECK(segment_reap(s) == 0 && kind_in(s, 1) == STATE_FREE); /* folded, not counted as a death again */
    CHECK(stat_sum(s, STAT_deaths_recovered) == 1);
    segment_close(s);
}

static void a_waiter_recovers_the_owner(void) {
    fresh();
    segment *s = opened(&creating);
    child c = spawn(take_latch_and_wait);
    await(c.from);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    CHECK_STATUS(latch_take(s, 0, clock_boot_ms() + 5, &err), FR_LATCHED);
    killed(&c);
    CHECK_STATUS(latch_take(s, 0, clock_boot_ms() + 2000, &err), FR_OK);
    latch_drop(s, 0);
    segment_close(s);
}

static void a_reused_slot_has_a_new_generation(void) {
    fresh();
    segment *s = opened(&creating);
    for (uint32_t life = 1; life <= 5; life++) {
        child c = spawn(take_latch_and_wait);
        await(c.from);
        CHECK(gen_in(s, 1) == life && kind_in(s, 1) == STATE_ATTACHED && segment_alive(s, 1, life));
        CHECK(life == 1 || !segment_alive(s, 1, life - 1));
        CHECK(stat_sum(s, STAT_deaths_recovered) == life - 1);
        killed(&c); /* the next registrant recovers it before it steps the generation */
    }
    CHECK(segment_reap(s) == 1 && s->me->word == LATCH_WORD(1, 6)); /* the reaper needs a slot, and takes that one */
    CHECK(stat_sum(s, STAT_evicted_keys) == 25 && ld4(&segment_stripe(s, 0)->latch) == 0);
    segment_close(s);
}

static void generations_wrap_past_zero(void) {
    fresh();
    segment *s = opened(&creating);
    st8(&segment_proc(s, 1)->state, STATE_MAKE((1u << 19) - 1, STATE_FREE));
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    CHECK(s->me->word == LATCH_WORD(1, 1));
    segment_close(s);
}

static void slots_run_out_with_an_error(void) {
    fresh();
    segment *s = small();
    child c[3];
    for (int i = 0; i < 3; i++) {
        c[i] = spawn(live_until_told);
        await(c[i].from);
    }
    CHECK_STATUS(segment_register(s, &err), FR_NOSLOT);
    CHECK(says("all 3 process slots"));
    killed(&c[1]);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    CHECK(s->me->word == LATCH_WORD(2, 2));
    ended_well(&c[0]);
    ended_well(&c[2]);
    segment_close(s);
}

static int kill_at, stores;

static void die_at(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)ctx, (void)addr, (void)n;
    if ((kind == ACCESS_ST8 || kind == ACCESS_CAS4) && ++stores == kill_at) kill(getpid(), SIGKILL);
}

static void register_and_die(void) {
    segment *s = opened(&attaching);
    fr_hook = die_at;
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    fr_hook = NULL;
}

static void reap_and_die(void) {
    segment *s = opened(&attaching);
    fr_hook = die_at;
    segment_reap(s);
    fr_hook = NULL;
}

static segment *watcher;
static unsigned listings;

/* The slot's last owner left its name behind; who registers over it is listed whole or not at all. */
static void list_at_each_store(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)ctx, (void)addr, (void)n;
    process_info info;
    if (kind != ACCESS_ST8 && kind != ACCESS_CAS4) return;
    fr_hook = NULL;
    if (segment_process(watcher, 1, &info) == 1) {
        listings++;
        CHECK(info.gen == 2 && strcmp(info.name, "second") == 0 && info.start_time > 0);
    }
    fr_hook = list_at_each_store;
}

static void a_half_registered_process_is_not_listed(void) {
    fresh();
    segment_options first = creating, second = attaching;
    first.name = "first one here";
    second.name = "second";
    segment *s = opened(&first);
    watcher = opened(&attaching);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    stat_add(s, STAT_keyspace_hits, 3);
    segment_close(s);
    s = opened(&second);
    listings = 0;
    fr_hook = list_at_each_store;
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    fr_hook = NULL;
    CHECK(s->me->word == LATCH_WORD(1, 2) && listings > 0);
    segment_close(s);
    segment_close(watcher);
}

static unsigned looks;

/* Whoever died has been seen to be dead, and stays it: a lock of his must not be held again for a moment. */
static void probe_at_each_access(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)ctx, (void)kind, (void)addr, (void)n;
    fr_hook = NULL;
    looks++;
    CHECK(!segment_alive(watcher, 1, 1));
    fr_hook = probe_at_each_access;
}

static void a_registrant_makes_nobody_alive(void) {
    fresh();
    watcher = opened(&creating);
    child c = spawn(take_latch_and_wait);
    await(c.from);
    CHECK(segment_alive(watcher, 1, 1));
    killed(&c);
    segment *s = opened(&attaching);
    looks = 0;
    fr_hook = probe_at_each_access;
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    fr_hook = NULL;
    CHECK(s->me->word == LATCH_WORD(1, 2) && looks > 20);
    segment_close(s);
    segment_close(watcher);
}

/* A recoverer stands still before it gives slot 1 up, until the parent says go. */
static segment *recoverer;
static void pause_before_the_state(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)ctx, (void)n;
    if (kind != ACCESS_ST8 || addr != &segment_proc(recoverer, 1)->state) return;
    fr_hook = NULL;
    step(out);
    await(in);
}
static void recover_and_pause(void) {
    recoverer = opened(&attaching);
    CHECK_STATUS(segment_register(recoverer, &err), FR_OK);
    fr_hook = pause_before_the_state;
    segment_reap(recoverer);
    fr_hook = NULL;
}

static segment *registrant;
static child beside;
static bool stands;
static int start_at;

/* At one store of a registration that is not over, somebody else begins to recover the slot's last owner. */
static void start_a_recoverer(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)ctx, (void)addr, (void)n;
    if (kind != ACCESS_ST8 || registrant->me->word || ++stores != start_at) return;
    fr_hook = NULL;
    beside = spawn(recover_and_pause);
    stands = await(beside.from); /* or it has ended */
}

/* What the recoverer saw may be out of date when it goes on: it must not give up the slot of its new owner. */
static void a_late_recoverer_leaves_the_slots_new_owner(void) {
    for (start_at = 1;; start_at++) {
        fresh();
        watcher = opened(&creating);
        child c = spawn(take_latch_and_wait);
        await(c.from);
        killed(&c);
        registrant = opened(&attaching);
        stores = 0;
        beside.pid = 0;
        fr_hook = start_a_recoverer;
        CHECK_STATUS(segment_register(registrant, &err), FR_OK);
        fr_hook = NULL;
        bool started = beside.pid != 0;
        if (started) {
            if (stands) step(beside.to);
            ended_well(&beside);
        }
        uint32_t slot = registrant->me->slot, gen = LATCH_GEN(registrant->me->word);
        CHECK(segment_alive(watcher, slot, gen) && kind_in(watcher, slot) == STATE_ATTACHED && gen_in(watcher, slot) == gen);
        segment_close(registrant);
        segment_close(watcher);
        if (!started) break;
    }
    CHECK(start_at > 10);
}

/* Kills the second process at every store it makes after a first one died holding latches; then everything heals. */
static int enumerate_deaths(void (*run)(void)) {
    for (kill_at = 1;; kill_at++) {
        fresh();
        stores = 0;
        segment *s = opened(&creating);
        child c = spawn(take_latch_and_wait);
        await(c.from);
        killed(&c);
        c = spawn(run);
        int status = reaped(&c);
        CHECK_STATUS(segment_register(s, &err), FR_OK);
        segment_reap(s);
        for (uint32_t slot = 1; slot < s->g.slots; slot++) {
            CHECK(kind_in(s, slot) == (slot == s->me->slot ? STATE_ATTACHED : STATE_FREE));
        }
        CHECK(stat_sum(s, STAT_evicted_keys) == 5);
        for (uint32_t i = 0; i < s->l.latch_count; i++) CHECK(ld4(&segment_stripe(s, i)->latch) == 0);
        segment_close(s);
        if (WIFEXITED(status)) return kill_at;
    }
}

static void death_anywhere_in_registration_heals(void) { CHECK(enumerate_deaths(register_and_die) > 15); }
static void death_anywhere_in_recovery_heals(void) { CHECK(enumerate_deaths(reap_and_die) > 15); }

static void kill_oneself_while_others_register(void) {
    segment *s = opened(&attaching);
    step(out);
    await(in);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    CHECK_STATUS(latch_take(s, 0, clock_boot_ms() + 5000, &err), FR_OK);
    kill(getpid(), SIGKILL);
}

static void registrants_and_deaths_at_once(void) {
    fresh();
    segment *s = opened(&creating);
    for (int round = 0; round < 20; round++) {
        child c[6];
        for (int i = 0; i < 6; i++) c[i] = spawn(kill_oneself_while_others_register);
        for (int i = 0; i < 6; i++) await(c[i].from);
        for (int i = 0; i < 6; i++) step(c[i].to);
        for (int i = 0; i < 6; i++) {
            int status = reaped(&c[i]);
            CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        }
    }
    segment_reap(s);
    CHECK(ld4(&segment_stripe(s, 0)->latch) == 0);
    for (uint32_t slot = 1; slot < s->g.slots; slot++) CHECK(slot == s->me->slot || kind_in(s, slot) == STATE_FREE);
    segment_close(s);
}

static void closing_folds_later(void) {
    fresh();
    segment *a = opened(&creating), *b = opened(&attaching);
    CHECK_STATUS(segment_register(a, &err), FR_OK);
    stat_add(a, STAT_keyspace_misses, 9);
    segment_close(a);
    CHECK(kind_in(b, 1) == STATE_FOLDING && stat_sum(b, STAT_keyspace_misses) == 9);
    CHECK_STATUS(segment_register(b, &err), FR_OK);
    CHECK(b->me->word == LATCH_WORD(1, 2) && stat_sum(b, STAT_keyspace_misses) == 9);
    CHECK(stat_sum(b, STAT_deaths_recovered) == 0);
    segment_close(b);
}

int main(void) {
    RUN(registering_takes_a_slot);
    RUN(a_half_registered_process_is_not_listed);
    RUN(a_registrant_makes_nobody_alive);
    RUN(two_handles_are_two_slots);
    RUN(a_killed_process_reads_dead);
    RUN(a_stopped_process_reads_alive);
    RUN(a_forks_child_does_not_pass_for_its_parent);
    RUN(a_raw_clone_is_nobody);
    RUN(closing_in_a_child_leaves_the_parent_alone);
    RUN(closerange_kills_nobody);
    RUN(exec_gives_up_the_slot);
    RUN(the_dead_are_recovered_by_another_process);
    RUN(a_probe_that_cannot_tell_says_alive);
    RUN(one_recovers_at_a_time);
    RUN(recovery_under_a_latch_leaves_the_folding_for_later);
    RUN(a_waiter_recovers_the_owner);
    RUN(a_reused_slot_has_a_new_generation);
    RUN(generations_wrap_past_zero);
    RUN(slots_run_out_with_an_error);
    RUN(death_anywhere_in_registration_heals);
    RUN(death_anywhere_in_recovery_heals);
    RUN(a_late_recoverer_leaves_the_slots_new_owner);
    RUN(registrants_and_deaths_at_once);
    RUN(closing_folds_later);
    return 0;
}
