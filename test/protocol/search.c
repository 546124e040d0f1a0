/* SPDX-License-Identifier: PostgreSQL */
/* Searches: depth first through all states, or random walks. */
#include "protocol.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/prng.h"

#define DEPTH_MAX 250

static void
start_state(struct state *state)
{
    memset(state, 0, sizeof *state);
    for (uint32_t i = 0; i < settings.replicas; i++)
        state->replicas[i].up = true;
    state->replicas[0].leads = true;
    state->views[0].started = true;
}

/* ---- How it came to a violation -------------------------------------------------------------- */

static struct step path[DEPTH_MAX];

static void
print_path(uint32_t length, const char *what)
{
    static const char *const names[] = {
        [STEP_RESTART] = "restarts, into view",
        [STEP_ROT_PREPARE] = "has its prepare rotten of op",
        [STEP_ROT_HEADERS] = "has a sector of headers rotten, of every other op from",
        [STEP_CRASH] = "crashes",
        [STEP_VOTE] = "votes for view",
        [STEP_REPAIR] = "gets a whole prepare of op",
        [STEP_COMMIT] = "counts acknowledgements up to op",
        [STEP_MAKE] = "makes and sends op",
        [STEP_APPEND] = "appends op",
        [STEP_LEARN] = "hears of a commit up to op",
        [STEP_INSTALL] = "installs view",
        [STEP_START] = "starts view",
        [STEP_MUTATION] = "does what the mutation permits, to",
    };
    static const char *const stages[] = {
        [APPEND_DONE] = "",
        [PREPARE_TORN] = ", crashes within the prepare",
        [HEADER_OLD] = ", crashes before the header",
        [HEADER_TORN] = ", crashes within the header's sector",
    };
    for (uint32_t i = 0; i < length; i++) {
        const struct step *step = &path[i];
        printf("  %2u %c %s", i + 1, 'a' + step->replica, names[step->kind]);
        if (step->kind != STEP_CRASH) printf(" %u", step->of);
        if (step->kind == STEP_APPEND) printf("%s", stages[step->detail]);
        if (step->kind == STEP_START || step->kind == STEP_INSTALL)
            printf(", whose log ends at %u", step->detail);
        printf("\n");
    }
    printf("  %s\n", what);
}

/* ---- All states ------------------------------------------------------------------------------ */

/* Hashes of states that were seen: open addressing, 0 is free. */
struct seen {
    uint64_t *hashes;
    uint64_t mask;
    uint64_t count;
};

static bool
seen_add(struct seen *seen, const struct state *state)
{
    uint64_t hash = checksum_64(state, sizeof *state);
    if (hash == 0) hash = 1;
    uint64_t at = hash & seen->mask;
    while (seen->hashes[at] != 0) {
        if (seen->hashes[at] == hash) return false;
        at = (at + 1) & seen->mask;
    }
    seen->hashes[at] = hash;
    seen->count += 1;
    return true;
}

/* States that were seen but not yet gone on from. What follows an entry is deeper than it. */
struct pending {
    struct state state;
    struct step step;
    uint32_t depth;
};

struct search {
    struct seen seen;
    struct pending *stack;
    uint32_t used;
    uint32_t size;
    uint32_t depth;
    uint64_t steps;
    bool print;
    bool violated;
};

static void
search_visit(void *context, const struct state *next, struct step step, const char *what)
{
    struct search *search = context;
    search->steps += 1;
    if (search->violated) return;
    if (what != NULL) {
        search->violated = true;
        path[search->depth] = step;
        if (search->print) print_path(search->depth + 1, what);
        return;
    }
    if (!seen_add(&search->seen, next)) return;
    if (search->used == search->size) {
        search->size *= 2;
        search->stack = realloc(search->stack, search->size * sizeof *search->stack);
        if (search->stack == NULL) abort();
    }
    struct pending *pending = &search->stack[search->used++];
    pending->state = *next;
    pending->step = step;
    pending->depth = search->depth + 1;
}

struct search_result
search_all(uint64_t states_max, bool print)
{
    static struct state state;
    struct search search;
    memset(&search, 0, sizeof search);
    search.print = print;
    search.size = 1024;
    search.stack = malloc(search.size * sizeof *search.stack);
    search.seen.mask = 1;
    while (search.seen.mask < 2 * states_max)
        search.seen.mask *= 2;
    search.seen.hashes = calloc(search.seen.mask, sizeof *search.seen.hashes);
    search.seen.mask -= 1;
    if (search.stack == NULL || search.seen.hashes == NULL) abort();
    start_state(&state);
    seen_add(&search.seen, &state);
    steps_each(&state, search_visit, &search);
    while (search.used > 0 && !search.violated && search.seen.count < states_max) {
        const struct pending *pending = &search.stack[--search.used];
        state = pending->state;
        search.depth = pending->depth;
        if (search.depth >= DEPTH_MAX) abort();
        path[search.depth - 1] = pending->step;
        steps_each(&state, search_visit, &search);
    }
    const bool exhausted = search.used == 0 && !search.violated;
    free(search.stack);
    free(search.seen.hashes);
    return (struct search_result){search.violated, exhausted, search.seen.count, search.steps};
}

/* ---- Random walks ---------------------------------------------------------------------------- */

#define WALK_STEPS_MAX 120

struct walk {
    struct prng prng;
    uint64_t weight; /* Of the steps so far, one of which is taken. */
    struct state next;
    struct step step;
    const char *violation;
};

/* Faults are rare, or nothing would be committed; what a new view needs is likely. */
static uint64_t
step_weight(struct step step)
{
    switch (step.kind) {
    case STEP_CRASH:
        return 3;
    case STEP_VOTE:
        return step.detail == 1 ? 7 : 2; /* How many views it goes ahead. */
    case STEP_APPEND:
        return step.detail == APPEND_DONE ? 30 : 2;
    case STEP_START:
        return 80;
    case STEP_INSTALL:
        return 40;
    case STEP_ROT_PREPARE:
    case STEP_ROT_HEADERS:
        return 10;
    case STEP_RESTART:
    case STEP_REPAIR:
    case STEP_COMMIT:
    case STEP_MAKE:
    case STEP_LEARN:
    case STEP_MUTATION:
        break;
    }
    return 20;
}

static void
walk_visit(void *context, const struct state *next, struct step step, const char *what)
{
    struct walk *walk = context;
    const uint64_t weight = step_weight(step);
    if (walk->violation != NULL) return;
    walk->weight += weight;
    if (what == NULL && prng_below(&walk->prng, walk->weight) >= weight) return;
    walk->violation = what;
    walk->next = *next;
    walk->step = step;
}

struct search_result
search_walks(uint64_t walks, uint64_t seed, bool print)
{
    static struct state state;
    static struct walk walk;
    struct search_result result;
    memset(&result, 0, sizeof result);
    prng_init(&walk.prng, seed);
    for (uint64_t number = 0; number < walks; number++) {
        start_state(&state);
        for (uint32_t depth = 0; depth < WALK_STEPS_MAX; depth++) {
            walk.weight = 0;
            walk.violation = NULL;
            steps_each(&state, walk_visit, &walk);
            if (walk.weight == 0) break;
            state = walk.next;
            path[depth] = walk.step;
            result.steps += 1;
            if (walk.violation == NULL) continue;
            result.violated = true;
            if (print) print_path(depth + 1, walk.violation);
            return result;
        }
        result.states += 1;
    }
    return result;
}

/* ---- One way, step by step ------------------------------------------------------------------- */

struct follow {
    struct step step;
    struct state next;
    const char *violation;
    bool possible;
};

static void
follow_visit(void *context, const struct state *next, struct step step, const char *what)
{
    struct follow *follow = context;
    if (follow->possible || step.kind != follow->step.kind || step.of != follow->step.of) return;
    if (step.replica != follow->step.replica || step.detail != follow->step.detail) return;
    follow->possible = true;
    follow->next = *next;
    follow->violation = what;
}

uint32_t
search_along(const struct step *steps, uint32_t count, bool *found)
{
    static struct state state;
    static struct follow follow;
    start_state(&state);
    *found = false;
    for (uint32_t i = 0; i < count; i++) {
        memset(&follow, 0, sizeof follow);
        follow.step = steps[i];
        steps_each(&state, follow_visit, &follow);
        if (!follow.possible) return i;
        state = follow.next;
        *found |= follow.violation != NULL;
    }
    return count;
}
