/* SPDX-License-Identifier: PostgreSQL */
/*
 * Sleepers and their waker, as processes over shared memory: one call of the kernel for many; and
 * by force, with processes that are stopped between any two instructions, and at random.
 *
 * A lost wake-up shows as a sleep that ends because its time was up.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/prng.h"
#include "base/units.h"
#include "os/sleepers.h"

#include "unit.h"

#define PROCESSES_MAX 72
#define LONG_MS       10000
#define TIMEOUT_S     120

enum word { WORD_IDLE, WORD_ASKED, WORD_DONE };

/* One process that sleeps, and what it waits for. */
struct bed {
    uint32_t word;
    struct sleeper sleeper;
    uint32_t rounds;
    uint32_t timed_out;
    uint32_t interrupted;
    uint32_t ends; /* Of sleeps. */
};

static struct shared_memory {
    struct sleepers *sleepers;
    struct bed beds[PROCESSES_MAX];
    uint32_t end;
} *memory;

static void
memory_take(uint32_t count)
{
    const size_t size = sizeof(*memory) + SLEEPERS_ALIGNMENT + sleepers_size(count);
    void *taken = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert(taken != MAP_FAILED);
    memory = taken;
    const uintptr_t past = (uintptr_t) (memory + 1) + SLEEPERS_ALIGNMENT - 1;
    memory->sleepers = (struct sleepers *) (past - past % SLEEPERS_ALIGNMENT);
    sleepers_init(memory->sleepers, count);
}

static uint32_t
load(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static void
store(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
}

static void
pause_us(uint32_t microseconds)
{
    const struct timespec pause = {.tv_nsec = microseconds * (long) NS_PER_US};
    (void) nanosleep(&pause, NULL);
}

static uint64_t
now_ms(void)
{
    struct timespec now;
    (void) clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / NS_PER_MS;
}

static enum sleep_end
bed_sleep(struct bed *bed, uint32_t milliseconds)
{
    const enum sleep_end how =
        sleepers_sleep(memory->sleepers, &bed->sleeper, &bed->word, WORD_DONE, milliseconds);
    if (how == SLEEP_TIMED_OUT) bed->timed_out += 1;
    if (how == SLEEP_INTERRUPTED) bed->interrupted += 1;
    __atomic_add_fetch(&bed->ends, 1, __ATOMIC_SEQ_CST);
    return how;
}

static void
bed_sleep_until_done(struct bed *bed)
{
    while (load(&bed->word) != WORD_DONE) {
        if (bed_sleep(bed, LONG_MS) == SLEEP_TIMED_OUT) _exit(1);
    }
}

static void
bed_wake(struct bed *bed)
{
    store(&bed->word, WORD_DONE);
    sleepers_call(memory->sleepers, &bed->sleeper);
    sleepers_wake(memory->sleepers);
}

/* ---- Processes ------------------------------------------------------------------------------- */

static char
process_state(pid_t pid)
{
    char path[64];
    char line[512];
    (void) snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
    FILE *file = fopen(path, "r");
    assert(file != NULL);
    const size_t size = fread(line, 1, sizeof(line) - 1, file);
    (void) fclose(file);
    line[size] = '\0';
    const char *name_end = strrchr(line, ')');
    assert(name_end != NULL);
    return name_end[2];
}

/* It has a place, and the kernel has put it to sleep. */
static void
await_asleep(const struct bed *bed, pid_t pid)
{
    const uint64_t end = now_ms() + TIMEOUT_S * 1000;
    while (load(&bed->sleeper.place) == 0 || process_state(pid) != 'S') {
        assert(now_ms() < end);
        pause_us(200);
    }
}

/* It has ended by itself, without a time that was up. */
static bool
process_ended_well(pid_t pid)
{
    int status;
    const pid_t got = waitpid(pid, &status, 0);
    assert(got == pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static pid_t
fork_sleeper(struct bed *bed)
{
    const pid_t pid = fork();
    assert(pid >= 0);
    if (pid > 0) return pid;
    bed_sleep_until_done(bed);
    _exit(0);
}

/* ---- One after the other --------------------------------------------------------------------- */

UNIT_TEST(who_has_what_it_waits_for_does_not_sleep)
{
    memory_take(1);
    memory->beds[0].word = WORD_DONE;
    const uint64_t start = now_ms();
    expect(bed_sleep(&memory->beds[0], LONG_MS) == SLEEP_WOKEN);
    expect(now_ms() - start < LONG_MS);
    expect_equal(sleepers_stats(memory->sleepers).in_vain, 0);
}

UNIT_TEST(q3_a_sleep_ends_in_time)
{
    memory_take(1);
    const uint64_t start = now_ms();
    expect(bed_sleep(&memory->beds[0], 30) == SLEEP_TIMED_OUT);
    expect(now_ms() - start >= 30);
    expect(now_ms() - start < LONG_MS);
    expect_equal(memory->beds[0].sleeper.place, 0);
    expect_equal(memory->sleepers->rows[0].taken, 0);
}

UNIT_TEST(nobody_asleep_costs_no_call_of_the_kernel)
{
    memory_take(4);
    for (uint32_t i = 0; i < 4; i++) bed_wake(&memory->beds[i]);
    expect_equal(sleepers_stats(memory->sleepers).wakes, 0);
}

UNIT_TEST(one_call_wakes_all_of_a_row_and_nobody_else)
{
    pid_t pids[PROCESSES_MAX];
    memory_take(PROCESSES_MAX);
    for (uint32_t i = 0; i < PROCESSES_MAX; i++) {
        pids[i] = fork_sleeper(&memory->beds[i]);
        await_asleep(&memory->beds[i], pids[i]);
        expect_equal(memory->beds[i].sleeper.place, i + 1);
    }
    /* Of the first row every second one: by one call, and the others sleep on. */
    for (uint32_t i = 0; i < 32; i += 2) {
        store(&memory->beds[i].word, WORD_DONE);
        sleepers_call(memory->sleepers, &memory->beds[i].sleeper);
    }
    sleepers_wake(memory->sleepers);
    for (uint32_t i = 0; i < 32; i += 2) expect(process_ended_well(pids[i]));
    expect_equal(sleepers_stats(memory->sleepers).wakes, 1);
    expect_equal(sleepers_stats(memory->sleepers).woken, 16);
    for (uint32_t i = 1; i < PROCESSES_MAX; i += 2) expect_equal(load(&memory->beds[i].ends), 0);

    /* All others, in three rows. */
    for (uint32_t i = 0; i < PROCESSES_MAX; i++) {
        if (load(&memory->beds[i].word) == WORD_DONE) continue;
        store(&memory->beds[i].word, WORD_DONE);
        sleepers_call(memory->sleepers, &memory->beds[i].sleeper);
    }
    sleepers_wake(memory->sleepers);
    for (uint32_t i = 0; i < PROCESSES_MAX; i++) {
        if (i >= 32 || i % 2 == 1) expect(process_ended_well(pids[i]));
        expect_equal(memory->beds[i].sleeper.place, 0);
    }
    expect_equal(sleepers_stats(memory->sleepers).wakes, 4);
    expect_equal(sleepers_stats(memory->sleepers).woken, PROCESSES_MAX);
    expect_equal(sleepers_stats(memory->sleepers).in_vain, 0);
    for (uint32_t i = 0; i < memory->sleepers->row_count; i++) {
        expect_equal(memory->sleepers->rows[i].taken, 0);
    }
}

/* Its last owner was called, and got up by itself: the next one is woken for nothing, once. */
UNIT_TEST(q2_a_place_that_was_taken_over)
{
    memory_take(2);
    struct bed *last = &memory->beds[0];
    struct bed *next = &memory->beds[1];
    last->sleeper.place = 1;
    sleepers_call(memory->sleepers, &last->sleeper);
    last->sleeper.place = 0;
    const pid_t pid = fork_sleeper(next);
    await_asleep(next, pid);
    expect_equal(next->sleeper.place, 1);
    sleepers_wake(memory->sleepers);
    while (load(&next->ends) == 0) pause_us(200);
    expect_equal(sleepers_stats(memory->sleepers).in_vain, 1);
    await_asleep(next, pid);
    sleepers_wake(memory->sleepers);
    expect_equal(sleepers_stats(memory->sleepers).wakes, 1);
    bed_wake(next);
    expect(process_ended_well(pid));
    expect_equal(sleepers_stats(memory->sleepers).in_vain, 1);
}

/* ---- Stopped between any two instructions ---------------------------------------------------- */

#if defined(__x86_64__)

/* A child that stands still until it is let go on, instruction by instruction. */
static pid_t
fork_stepped(void (*run)(struct bed *bed), struct bed *bed)
{
    const pid_t pid = fork();
    int status;
    assert(pid >= 0);
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(2);
        (void) raise(SIGSTOP);
        run(bed);
        _exit(0);
    }
    const pid_t got = waitpid(pid, &status, 0);
    assert(got == pid);
    if (!WIFSTOPPED(status)) return 0;
    return pid;
}

/* Is the next instruction a call of the kernel? Only there a step may last. */
static bool
calls_kernel(pid_t pid)
{
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, pid, NULL, &registers) != 0) return true;
    const long code = ptrace(PTRACE_PEEKTEXT, pid, registers.rip, NULL);
    return (code & 0xffff) == 0x050f;
}

/* False once it sleeps in the kernel or has ended: it is not stopped then. */
static bool
step(pid_t pid, bool *ended)
{
    int status;
    const bool may_last = calls_kernel(pid);
    *ended = false;
    if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) != 0) return false;
    for (;;) {
        const pid_t got = waitpid(pid, &status, may_last ? WNOHANG : 0);
        if (got == pid) {
            *ended = !WIFSTOPPED(status);
            return !*ended;
        }
        if (process_state(pid) == 'S') return false;
    }
}

/* After so many steps: true if it still stands between two instructions. */
static bool
steps(pid_t pid, uint32_t count, bool *ended)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!step(pid, ended)) return false;
    }
    return true;
}

#define STEPS_ALL UINT32_MAX

/* It goes on by itself; true if it comes to a good end. */
static bool
release(pid_t pid, bool stopped)
{
    int status;
    if (stopped) (void) ptrace(PTRACE_DETACH, pid, NULL, NULL);
    for (;;) {
        const pid_t got = waitpid(pid, &status, 0);
        assert(got == pid);
        if (!WIFSTOPPED(status)) return WIFEXITED(status) && WEXITSTATUS(status) == 0;
        /* It was in the kernel while it was stepped, so the step ends only now. */
        (void) ptrace(PTRACE_DETACH, pid, NULL, NULL);
    }
}

/*
 * The sleeper is stopped after `first` instructions, the waker after `second`. Then the sleeper
 * goes on until it sleeps or ends, and then the waker. True if the wake-up was not lost. `longer`
 * says that an instruction was left: of the sleeper, or of the waker if `first` is 0.
 */
static bool
interleave(uint32_t first, uint32_t second, bool *longer)
{
    struct bed *bed = &memory->beds[0];
    bool sleeper_ended = false;
    bool waker_ended = false;
    *bed = (struct bed){.word = WORD_ASKED};
    const pid_t sleeper = fork_stepped(bed_sleep_until_done, bed);
    const pid_t waker = fork_stepped(bed_wake, bed);
    expect(sleeper != 0 && waker != 0);
    if (sleeper == 0 || waker == 0) return false;
    const bool sleeper_stopped = steps(sleeper, first, &sleeper_ended);
    bool waker_stopped = true;
    if (second == STEPS_ALL) {
        expect(release(waker, true));
        waker_ended = true;
    } else {
        waker_stopped = steps(waker, second, &waker_ended);
    }
    *longer = first > 0 ? sleeper_stopped : waker_stopped;

    if (sleeper_stopped) {
        (void) ptrace(PTRACE_DETACH, sleeper, NULL, NULL);
        siginfo_t info;
        for (;;) {
            info.si_pid = 0;
            (void) waitid(P_PID, (id_t) sleeper, &info, WEXITED | WNOWAIT | WNOHANG);
            if (info.si_pid != 0 || process_state(sleeper) == 'S') break;
        }
    }
    const bool waker_well = waker_ended || release(waker, waker_stopped);
    const bool sleeper_well = sleeper_ended || release(sleeper, false);
    expect(waker_well);
    expect_equal(memory->sleepers->rows[0].taken, 0);
    return sleeper_well;
}

/* Until it sleeps, each instruction of the sleeper; the waker does all meanwhile. */
UNIT_TEST(q1_sleeper_stopped_at_each_instruction)
{
    bool longer = true;
    bool well = true;
    uint32_t count = 1;
    memory_take(1);
    for (; longer && well; count++) well = interleave(count, STEPS_ALL, &longer);
    expect(well);
    printf("  %" PRIu32 " instructions\n", count);
    expect(count > 50);
}

/* Each instruction of the waker, while a sleeper lies down. */
UNIT_TEST(q1_waker_stopped_at_each_instruction)
{
    bool longer = true;
    bool well = true;
    uint32_t count = 0;
    memory_take(1);
    for (; longer && well; count++) well = interleave(0, count, &longer);
    expect(well);
    printf("  %" PRIu32 " instructions\n", count);
    expect(count > 50);
}

UNIT_TEST(q1_both_stopped_at_random)
{
    struct prng prng;
    bool longer;
    memory_take(1);
    prng_init(&prng, 1);
    for (uint32_t i = 0; i < 300; i++) {
        const uint32_t first = (uint32_t) prng_below(&prng, 300);
        const uint32_t second = (uint32_t) prng_below(&prng, 250);
        expect(interleave(first, second, &longer));
    }
}

#endif

/* ---- Many, stopped at random ----------------------------------------------------------------- */

#define STRESS_SLEEPERS 40
#define STRESS_ROUNDS   4000

static void
on_signal(int number)
{
    (void) number;
}

static void
spin(struct prng *prng, uint32_t below)
{
    for (volatile uint64_t left = prng_below(prng, below); left > 0; left--) continue;
}

static void
stress_sleeper(struct bed *bed, uint64_t seed)
{
    struct prng prng;
    prng_init(&prng, seed);
    for (uint32_t round = 0; round < STRESS_ROUNDS; round++) {
        store(&bed->word, WORD_ASKED);
        spin(&prng, 300);
        bed_sleep_until_done(bed);
        bed->rounds += 1;
        spin(&prng, 300);
    }
    _exit(0);
}

/* As the worker does: all whom it finds, then one call for them. */
static void
stress_waker(void)
{
    struct prng prng;
    prng_init(&prng, 99);
    while (load(&memory->end) == 0) {
        for (uint32_t i = 0; i < STRESS_SLEEPERS; i++) {
            struct bed *bed = &memory->beds[i];
            if (load(&bed->word) != WORD_ASKED || prng_below(&prng, 4) == 0) continue;
            store(&bed->word, WORD_DONE);
            sleepers_call(memory->sleepers, &bed->sleeper);
            if (prng_below(&prng, 8) == 0) spin(&prng, 300);
        }
        sleepers_wake(memory->sleepers);
        if (prng_below(&prng, 16) == 0) pause_us(1);
    }
    _exit(0);
}

/* Stops and interrupts whom it meets until all sleepers have ended; true if all ended well. */
static bool
torment(const pid_t *sleepers, pid_t waker)
{
    struct prng prng;
    bool well = true;
    bool gone[STRESS_SLEEPERS] = {false};
    uint32_t left = STRESS_SLEEPERS;
    prng_init(&prng, 7);
    while (left > 0) {
        const uint32_t number = (uint32_t) prng_below(&prng, STRESS_SLEEPERS + 8);
        const pid_t pid = number < STRESS_SLEEPERS ? sleepers[number] : waker;
        int status;
        if (number < STRESS_SLEEPERS && gone[number]) continue;
        if (number < STRESS_SLEEPERS && waitpid(pid, &status, WNOHANG) == pid) {
            well = well && WIFEXITED(status) && WEXITSTATUS(status) == 0;
            gone[number] = true;
            left -= 1;
            continue;
        }
        if (prng_below(&prng, 4) == 0) {
            (void) kill(pid, SIGUSR1);
        } else {
            (void) kill(pid, SIGSTOP);
            spin(&prng, 20000);
            (void) kill(pid, SIGCONT);
        }
        if (prng_below(&prng, 4) == 0) pause_us(50);
    }
    return well;
}

UNIT_TEST(q1_q2_q3_many_stopped_and_interrupted_at_random)
{
    pid_t pids[STRESS_SLEEPERS];
    const struct sigaction action = {.sa_handler = on_signal};
    memory_take(STRESS_SLEEPERS);
    (void) sigaction(SIGUSR1, &action, NULL);
    (void) alarm(TIMEOUT_S);
    const pid_t waker = fork();
    if (waker == 0) stress_waker();
    for (uint32_t i = 0; i < STRESS_SLEEPERS; i++) {
        pids[i] = fork();
        assert(pids[i] >= 0);
        if (pids[i] == 0) stress_sleeper(&memory->beds[i], i);
    }
    expect(torment(pids, waker));
    store(&memory->end, 1);
    (void) kill(waker, SIGCONT);
    expect(process_ended_well(waker));
    (void) alarm(0);

    uint64_t ends = 0;
    uint64_t interrupted = 0;
    for (uint32_t i = 0; i < STRESS_SLEEPERS; i++) {
        expect_equal(memory->beds[i].rounds, STRESS_ROUNDS);
        expect_equal(memory->beds[i].timed_out, 0);
        ends += memory->beds[i].ends;
        interrupted += memory->beds[i].interrupted;
    }
    const struct sleepers_stats stats = sleepers_stats(memory->sleepers);
    expect(stats.wakes > 0);
    expect(stats.wakes <= stats.woken);
    printf(
        "  %" PRIu64 " sleeps, %" PRIu64 " interrupted; %" PRIu64 " calls woke %" PRIu64
        ", %" PRIu64 " in vain\n",
        ends, interrupted, stats.wakes, stats.woken, stats.in_vain);
    expect(stats.in_vain < ends / 2);
    for (uint32_t i = 0; i < memory->sleepers->row_count; i++) {
        expect_equal(memory->sleepers->rows[i].taken, 0);
    }
}

/* ---- Two at the same instant ----------------------------------------------------------------- */

#define RACE_ROUNDS 60000

static void
race_waker(struct bed *bed)
{
    struct prng prng;
    prng_init(&prng, 5);
    for (uint32_t round = 0; round < RACE_ROUNDS; round++) {
        while (load(&bed->word) != WORD_ASKED) continue;
        spin(&prng, 200);
        bed_wake(bed);
    }
    _exit(0);
}

/*
 * A store that is still on its way to memory when the next load is done can't be seen by stopping
 * processes. So the answer comes again and again just when the sleeper lies down.
 */
UNIT_TEST(q1_answered_while_it_lies_down)
{
    memory_take(1);
    struct bed *bed = &memory->beds[0];
    const pid_t waker = fork();
    uint32_t lost = 0;
    if (waker == 0) race_waker(bed);
    for (uint32_t round = 0; round < RACE_ROUNDS; round++) {
        store(&bed->word, WORD_ASKED);
        while (load(&bed->word) != WORD_DONE) {
            const bool in_time = bed_sleep(bed, 1000) != SLEEP_TIMED_OUT;
            lost += !in_time && load(&bed->word) == WORD_DONE ? 1 : 0;
        }
    }
    expect(process_ended_well(waker));
    expect_equal(lost, 0);
}

UNIT_MAIN(test_sleepers)
