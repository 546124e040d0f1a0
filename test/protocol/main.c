/* SPDX-License-Identifier: PostgreSQL */
/*
 * Which bounds are searched.
 *
 *     build/protocol                 what `make protocol` runs; ends with "protocol: N passed, …"
 *     build/protocol all REPLICAS OPS VIEWS CRASHES FAULTS [WINDOW [MUTATION [STATES]]]
 *     build/protocol walks REPLICAS OPS VIEWS CRASHES FAULTS WINDOW MUTATION WALKS SEED
 *
 * Mutations are given by their number in `enum mutation`.
 */
#include "protocol.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

struct settings settings;

void
assert_failed(const char *expression, const char *file, int line)
{
    fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, expression);
    abort();
}

static uint32_t passed;
static uint32_t failed;

/* ---- The protocol as it is ------------------------------------------------------------------- */

struct run {
    struct settings settings;
    uint64_t states; /* At most; or 0 for walks. */
    uint64_t walks;
};

static const struct run runs[] = {
    {{3, 1, 3, 2, 2, 4, MUTATION_NONE}, 4000000, 0},
    {{2, 2, 3, 2, 2, 4, MUTATION_NONE}, 2000000, 0},
    {{3, 3, 4, 3, 4, 4, MUTATION_NONE}, 0, 60000},
    {{3, 3, 4, 3, 4, 2, MUTATION_NONE}, 0, 30000},
    {{3, 3, 4, 3, 4, 1, MUTATION_NONE}, 0, 30000},
    {{4, 3, 4, 3, 4, 4, MUTATION_NONE}, 0, 30000},
    {{5, 3, 4, 3, 4, 4, MUTATION_NONE}, 0, 10000},
};

static void
print_settings(void)
{
    printf(
        "%u replicas, %u ops, %u views, %u crashes, %u faults, window %u: ", settings.replicas,
        settings.ops, settings.views, settings.crashes, settings.faults, settings.window);
}

static bool
run_one(const struct run *run, uint64_t seed)
{
    settings = run->settings;
    print_settings();
    fflush(stdout);
    const struct search_result result =
        run->states > 0 ? search_all(run->states, true) : search_walks(run->walks, seed, true);
    printf(
        "%" PRIu64 " %s, %" PRIu64 " steps%s\n", result.states,
        run->states > 0 ? "states" : "walks", result.steps,
        result.violated ? ", VIOLATED" : result.exhausted ? ", exhausted" : "");
    return !result.violated && (run->states == 0 || result.exhausted);
}

/* ---- Mutations ------------------------------------------------------------------------------- */

struct canary {
    enum mutation mutation;
    const char *name;
    uint32_t crashes;
    uint32_t faults;
    uint32_t window;
    uint64_t walks; /* At most, until it is noticed: many times what it takes. */
};

static const struct canary canaries[] = {
    {VIEW_NOT_DURABLE, "votes before its view is durable", 1, 0, 4, 20000},
    {LOG_VIEW_NOT_DURABLE, "acknowledges before log_view is durable", 1, 0, 4, 20000},
    {PRIMARY_RESUMES, "a restarted primary goes on", 1, 0, 4, 20000},
    {ACKS_OF_OTHER_VIEWS, "acknowledgements of other views count", 1, 0, 4, 400000},
    {DAMAGE_NACKS, "damage nacks", 1, 2, 4, 20000},
    {NACK_QUORUM_LESS, "one nack less suffices", 1, 2, 4, 20000},
    {ALL_EVIDENCE_COUNTS, "all evidence counts", 1, 0, 4, 20000},
    {OLDER_LOG_NACKS, "an older log nacks all", 1, 2, 4, 20000},
    {UNCERTAIN_COUNTED, "uncertain votes are counted", 1, 2, 4, 20000},
    {UNREADABLE_BLANKED, "recovery blanks what is unreadable", 2, 3, 4, 20000},
    {HEARTBEAT_CLEARS, "a heartbeat makes certain", 1, 2, 4, 150000},
    {UNLINKED_EXECUTED, "what isn't linked is executed", 2, 0, 1, 300000},
    {START_VIEW_CUTS_AGAIN, "an old start_view cuts again", 1, 0, 4, 20000},
    {FOREIGN_COMMIT, "commit_max of another view", 1, 0, 4, 20000},
    {HEAD_BY_KNOWN_HEADERS, "the log ends where no header is known", 2, 3, 4, 20000},
    {LIST_IGNORED, "the suffix's list is ignored", 1, 0, 4, 80000},
    {DAMAGE_ACKNOWLEDGED, "acknowledges what isn't whole", 1, 2, 4, 200000},
    {INSTALL_MAKES_CERTAIN, "an install makes certain", 1, 2, 4, 200000},
};

static bool
run_canary(const struct canary *canary, uint64_t seed)
{
    settings = (struct settings){
        3, 3, 4, canary->crashes, canary->faults, canary->window, canary->mutation};
    const struct search_result result = search_walks(canary->walks, seed, false);
    printf(
        "mutation: %s: %s after %" PRIu64 " walks\n", canary->name,
        result.violated ? "noticed" : "NOT NOTICED", result.states);
    return result.violated;
}

/*
 * Too rare for walks. a and c have three ops. c's header sector of 1 and 3 rots, and both prepares.
 * Uncertain, it installs view 1, which lists op 3; to forget that its header is unreadable is the
 * mutation. The repair of op 1 then writes the sector with op 3 blank, and after a crash c believes
 * that op 3 was never there: with b, which never had it, it cuts what a and c have acknowledged.
 */
static const struct step install_blanks[] = {
    {STEP_MAKE, 0, 1, 0},        {STEP_APPEND, 0, 1, 0},       {STEP_MAKE, 0, 2, 0},
    {STEP_APPEND, 0, 2, 0},      {STEP_MAKE, 0, 3, 0},         {STEP_APPEND, 0, 3, 0},
    {STEP_APPEND, 2, 1, 0},      {STEP_APPEND, 2, 2, 0},       {STEP_APPEND, 2, 3, 0},
    {STEP_CRASH, 2, 0, 0},       {STEP_ROT_PREPARE, 2, 1, 0},  {STEP_ROT_PREPARE, 2, 3, 0},
    {STEP_ROT_HEADERS, 2, 1, 0}, {STEP_RESTART, 2, 0, 0},      {STEP_VOTE, 1, 1, 1},
    {STEP_VOTE, 0, 1, 1},        {STEP_START, 1, 1, 3},        {STEP_INSTALL, 2, 1, 3},
    {STEP_REPAIR, 2, 1, 0},      {STEP_CRASH, 2, 0, 0},        {STEP_RESTART, 2, 1, 0},
    {STEP_VOTE, 2, 2, 1},        {STEP_VOTE, 1, 2, 1},         {STEP_START, 2, 2, 2},
};

static bool
run_install_blanks(void)
{
    const uint32_t count = sizeof install_blanks / sizeof install_blanks[0];
    bool found = false;
    settings = (struct settings){3, 3, 4, 2, 3, 4, INSTALL_BLANKS};
    bool good = search_along(install_blanks, count, &found) == count && found;
    /* Without the mutation all but the last is possible: the choice waits. */
    settings.mutation = MUTATION_NONE;
    good = good && search_along(install_blanks, count, &found) == count - 1 && !found;
    printf("mutation: an install forgets unreadable headers: ");
    printf("%s\n", good ? "noticed" : "NOT NOTICED");
    return good;
}

static int
run_everything(void)
{
    for (uint32_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        const bool good = run_one(&runs[i], 1 + i);
        passed += good;
        failed += !good;
    }
    for (uint32_t i = 0; i < sizeof canaries / sizeof canaries[0]; i++) {
        const bool good = run_canary(&canaries[i], 1);
        passed += good;
        failed += !good;
    }
    const bool good = run_install_blanks();
    passed += good;
    failed += !good;
    printf("protocol: %u passed, %u failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}

static uint64_t
argument(int argc, char **argv, int index, uint64_t otherwise)
{
    return index < argc ? strtoull(argv[index], NULL, 10) : otherwise;
}

int
main(int argc, char **argv)
{
    if (argc == 1) return run_everything();
    const bool walks = strcmp(argv[1], "walks") == 0;
    struct run run;
    memset(&run, 0, sizeof run);
    run.settings.replicas = (uint32_t) argument(argc, argv, 2, 3);
    run.settings.ops = (uint32_t) argument(argc, argv, 3, 1);
    run.settings.views = (uint32_t) argument(argc, argv, 4, 3);
    run.settings.crashes = (uint32_t) argument(argc, argv, 5, 1);
    run.settings.faults = (uint32_t) argument(argc, argv, 6, 1);
    run.settings.window = (uint32_t) argument(argc, argv, 7, 4);
    run.settings.mutation = (enum mutation) argument(argc, argv, 8, MUTATION_NONE);
    if (walks)
        run.walks = argument(argc, argv, 9, 1000);
    else
        run.states = argument(argc, argv, 9, 20000000);
    assert(run.settings.replicas <= REPLICAS_MAX);
    assert(run.settings.ops <= OPS_MAX);
    assert(run.settings.views <= VIEWS_MAX);
    assert(run.settings.mutation < MUTATIONS);
    return run_one(&run, argument(argc, argv, 10, 1)) ? 0 : 1;
}
