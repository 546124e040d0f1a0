/* SPDX-License-Identifier: PostgreSQL */
/*
 * Exactly once: a node with two lives, each a session of three requests, and a log that changes its
 * primary. All interleavings are tried of: requests that arrive in any groups, repeatedly, late
 * and reordered; refusals; commits; views that drop what isn't committed, or bring back what the
 * last one had dropped; a node that learns of all this late, and restarts.
 *
 * What must hold: nothing executes twice, nothing of which the node was told that it had no effect
 * executes, the numbers of a session ascend, and nothing of the old session follows the new one's
 * begin.
 */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "vsr/sessions.h"

#define SLOT       3
#define NUMBER_MAX 3
#define VIEW_MAX   2
#define LOG_MAX    7
#define STATES_MAX (UINT32_C(1) << 22)

/* ---- The functions alone --------------------------------------------------------------------- */

UNIT_TEST(v9_numbers_ascend_within_the_newest_session)
{
    struct sessions sessions = {0};
    expect(sessions_valid(&sessions));
    expect(!sessions_accepts(&sessions, SLOT, 7, 1));
    expect(sessions_precede(&sessions, SLOT, 7, 1) && !sessions_precede(&sessions, SLOT, 7, 0));
    sessions_begin(&sessions, SLOT, 7);
    expect(!sessions_accepts(&sessions, SLOT, 7, 0) && sessions_accepts(&sessions, SLOT, 7, 1));
    sessions_take(&sessions, SLOT, 7, 5);
    for (uint64_t first = 0; first < 10; first++) {
        expect_equal(sessions_accepts(&sessions, SLOT, 7, first), first > 5);
        expect_equal(sessions_precede(&sessions, SLOT, 7, first), first > 5);
        expect(!sessions_accepts(&sessions, SLOT, 8, first));
        expect_equal(sessions_precede(&sessions, SLOT, 8, first), first > 0);
        expect(!sessions_accepts(&sessions, SLOT + 1, 7, first));
    }
    sessions_begin(&sessions, SLOT, 7); /* It goes on. */
    expect(!sessions_accepts(&sessions, SLOT, 7, 5));
    sessions_begin(&sessions, SLOT, 8);
    expect(sessions_accepts(&sessions, SLOT, 8, 1) && !sessions_accepts(&sessions, SLOT, 7, 6));
    sessions_take(&sessions, SLOT, 9, 2);
    expect(sessions_accepts(&sessions, SLOT, 9, 3) && !sessions_accepts(&sessions, SLOT, 8, 1));
    expect_equal(sessions.slots[SLOT].number, 2);
    sessions_take(&sessions, SLOT, 9, UINT64_MAX);
    expect(!sessions_accepts(&sessions, SLOT, 9, UINT64_MAX));
}

UNIT_TEST(a_number_without_a_session_is_invalid)
{
    for (uint32_t slot = 0; slot < MEMBERS_MAX; slot++) {
        struct sessions sessions = {0};
        sessions.slots[slot].number = 1;
        expect(!sessions_valid(&sessions));
        sessions.slots[slot].session = 1;
        expect(sessions_valid(&sessions));
    }
}

/* ---- All interleavings ----------------------------------------------------------------------- */

/* What is left out, to see that it is missed. */
enum canary {
    NOTHING,
    FIRST_NUMBER,    /* The last number of a group is compared. */
    SESSION,         /* Only the numbers are compared. */
    BURNING,         /* A refused number isn't accepted first. */
    REFUSED_ABOVE,   /* What is in the log already is refused. */
    SETTLED,         /* It is refused before the view is settled. */
    VIEW_OF_REQUEST, /* Requests of older views are taken. */
    LOG_BEYOND,      /* A new primary looks only at what was executed. */
    CANARY_COUNT,
};

/* An entry of a log: the requests first … last of a session; or, with last = 0, its begin. */
struct entry {
    uint8_t session; /* 0 or 1. */
    uint8_t first;
    uint8_t last;
};

struct chain {
    uint8_t count;
    struct entry entries[LOG_MAX];
};

/* A table of one slot, in short. */
struct newest {
    uint8_t session;
    uint8_t number;
};

struct state {
    uint8_t view;
    uint8_t settled;
    uint8_t inherited; /* Entries that the view started with. */
    uint8_t commit;
    struct newest accepted;
    struct chain log;
    struct chain dropped; /* What the view before had. It may come back while this isn't settled. */
    /* The node. Masks of numbers, bit 0 for number 1; a session's in its own byte. */
    uint8_t life;
    uint8_t joined; /* It is in the newest view. */
    uint8_t known;  /* So many ops it has executed. */
    uint8_t outstanding;
    uint8_t sent[2];     /* What may arrive in this view. */
    uint8_t sent_old[2]; /* In older ones. */
    uint8_t refusals;    /* What may arrive of them: of the view that the node is in. */
    uint8_t told[2];     /* The caller was told that it had no effect. */
};

static struct {
    struct state *states;
    uint32_t *slots; /* Numbers of states, + 1. */
    uint32_t count;
    enum canary canary;
    bool wrong;
} search;

/* The real table, of which the search keeps the short form. */
static struct sessions
table_of(struct newest newest)
{
    struct sessions sessions = {0};
    sessions.slots[SLOT] = (struct session){1 + newest.session, newest.number};
    return sessions;
}

static struct newest
newest_of(const struct sessions *sessions)
{
    const struct session *session = &sessions->slots[SLOT];
    return (struct newest){(uint8_t) (session->session - 1), (uint8_t) session->number};
}

static void
apply(struct sessions *sessions, struct entry entry)
{
    if (entry.last == 0) {
        sessions_begin(sessions, SLOT, 1 + entry.session);
    } else if (sessions_precede(sessions, SLOT, 1 + entry.session, entry.last)) {
        sessions_take(sessions, SLOT, 1 + entry.session, entry.last);
    }
}

static struct newest
replay(const struct chain *log, uint32_t count)
{
    struct sessions sessions = table_of((struct newest){0});
    for (uint32_t i = 0; i < count; i++) apply(&sessions, log->entries[i]);
    return newest_of(&sessions);
}

/* Notes a state that wasn't met before. */
static void
visit(const struct state *state)
{
    uint32_t slot = (uint32_t) checksum_64(state, sizeof(*state)) % (2 * STATES_MAX);
    while (search.slots[slot] != 0) {
        if (memcmp(&search.states[search.slots[slot] - 1], state, sizeof(*state)) == 0) return;
        slot = (slot + 1) % (2 * STATES_MAX);
    }
    assert(search.count < STATES_MAX);
    search.states[search.count] = *state;
    search.count += 1;
    search.slots[slot] = search.count;
}

static uint8_t
mask_of(uint8_t first, uint8_t last)
{
    return (uint8_t) ((1 << last) - (1 << (first - 1)));
}

static void
append(struct state *state, struct entry entry)
{
    assert(state->log.count < LOG_MAX);
    state->log.entries[state->log.count] = entry;
    state->log.count += 1;
}

/* A group of requests arrives: taken, ignored or refused. */
static void
arrive(const struct state *state, uint8_t session, uint8_t first, uint8_t last)
{
    struct sessions accepted = table_of(state->accepted);
    const uint8_t compared = search.canary == FIRST_NUMBER ? last : first;
    bool accepts = sessions_accepts(&accepted, SLOT, 1 + session, compared);
    if (search.canary == SESSION) accepts = compared > state->accepted.number;
    if (accepts && state->log.count < LOG_MAX) {
        struct state next = *state;
        append(&next, (struct entry){session, first, last});
        next.accepted = (struct newest){session, last};
        visit(&next);
    }
    if (!state->joined || session != state->life) return;
    if (!accepts && search.canary != REFUSED_ABOVE) return;
    if (!state->settled && search.canary != SETTLED) return;
    struct state next = *state;
    if (accepts && search.canary != BURNING) next.accepted = (struct newest){session, last};
    next.refusals |= mask_of(first, last);
    visit(&next);
}

static void
arrivals(const struct state *state)
{
    for (uint8_t session = 0; session < 2; session++) {
        uint8_t may = state->sent[session];
        if (search.canary == VIEW_OF_REQUEST) may |= state->sent_old[session];
        for (uint8_t first = 1; first <= NUMBER_MAX; first++) {
            for (uint8_t last = first; last <= NUMBER_MAX; last++) {
                if ((mask_of(first, last) & ~may) == 0) arrive(state, session, first, last);
            }
        }
    }
}

/* The next op is executed. Is that right? */
static void
commit(const struct state *state)
{
    if (state->commit == state->log.count) return;
    if (state->commit >= state->inherited && !state->settled) return;
    const struct entry entry = state->log.entries[state->commit];
    const struct newest before = replay(&state->log, state->commit);
    struct state next = *state;
    next.commit += 1;
    if (entry.last > 0) {
        const bool ascends = entry.session == before.session && entry.first > before.number;
        if (!ascends) search.wrong = true;
        if (mask_of(entry.first, entry.last) & state->told[entry.session]) search.wrong = true;
    }
    visit(&next);
}

/* The node executes what is committed: what was overtaken is given up, too. */
static void
node_executes(const struct state *state)
{
    if (state->known == state->commit) return;
    const struct entry entry = state->log.entries[state->known];
    struct state next = *state;
    next.known += 1;
    if (entry.last > 0 && entry.session == state->life) {
        next.outstanding &= (uint8_t) ~mask_of(1, entry.last);
    }
    visit(&next);
}

static bool
executed(const struct state *state, uint8_t session, uint8_t number)
{
    for (uint32_t i = 0; i < state->commit; i++) {
        const struct entry *entry = &state->log.entries[i];
        if (entry->session == session && entry->first <= number && number <= entry->last) {
            return true;
        }
    }
    return false;
}

static void
node_told(const struct state *state)
{
    for (uint8_t number = 1; number <= NUMBER_MAX; number++) {
        const uint8_t bit = mask_of(number, number);
        if (!(state->refusals & state->outstanding & bit)) continue;
        struct state next = *state;
        next.outstanding &= (uint8_t) ~bit;
        next.told[state->life] |= bit;
        if (executed(state, state->life, number)) search.wrong = true;
        visit(&next);
    }
}

static void
node_joins(const struct state *state)
{
    if (state->joined) return;
    struct state next = *state;
    next.joined = true;
    next.refusals = 0;
    next.sent[next.life] = next.outstanding;
    visit(&next);
}

static void
node_restarts(const struct state *state)
{
    if (state->life == 1) return;
    struct state next = *state;
    next.life = 1;
    next.outstanding = mask_of(1, NUMBER_MAX);
    next.refusals = 0;
    if (next.joined) next.sent[1] = next.outstanding;
    visit(&next);
}

/* The primary makes the new session known. */
static void
session_begins(const struct state *state)
{
    if (state->life == 0 || state->accepted.session == 1 || state->log.count == LOG_MAX) return;
    struct state next = *state;
    append(&next, (struct entry){.session = 1});
    next.accepted = (struct newest){.session = 1};
    visit(&next);
}

/* A view starts from the first `count` entries of a log. */
static void
start_view(const struct state *state, const struct chain *log, uint8_t count)
{
    struct state next = *state;
    next.view += 1;
    next.settled = false;
    next.inherited = count;
    next.dropped = state->log;
    next.log = (struct chain){.count = count};
    memcpy(next.log.entries, log->entries, count * sizeof(struct entry));
    next.accepted = replay(&next.log, search.canary == LOG_BEYOND ? next.commit : count);
    next.joined = false;
    for (uint32_t session = 0; session < 2; session++) {
        if (search.canary == VIEW_OF_REQUEST) next.sent_old[session] |= next.sent[session];
        next.sent[session] = 0;
    }
    visit(&next);
}

static void
views(const struct state *state)
{
    if (state->view == VIEW_MAX) return;
    for (uint8_t count = state->commit; count <= state->log.count; count++) {
        start_view(state, &state->log, count);
    }
    const struct chain *dropped = &state->dropped;
    const size_t committed = state->commit * sizeof(struct entry);
    if (state->settled || memcmp(dropped->entries, state->log.entries, committed) != 0) return;
    for (uint8_t count = state->commit; count <= dropped->count; count++) {
        start_view(state, dropped, count);
    }
}

static void
settle(const struct state *state)
{
    if (state->settled) return;
    struct state next = *state;
    next.settled = true;
    next.dropped = (struct chain){0};
    visit(&next);
}

/* Returns true if everything was right. */
static bool
search_all(enum canary canary)
{
    const uint8_t all = mask_of(1, NUMBER_MAX);
    const struct state start = {.settled = true, .joined = true, .outstanding = all, .sent = {all}};
    search.count = 0;
    search.canary = canary;
    search.wrong = false;
    memset(search.slots, 0, 2 * (size_t) STATES_MAX * sizeof(*search.slots));
    visit(&start);
    for (uint32_t i = 0; i < search.count && !search.wrong; i++) {
        const struct state state = search.states[i];
        arrivals(&state);
        commit(&state);
        node_executes(&state);
        node_told(&state);
        node_joins(&state);
        node_restarts(&state);
        session_begins(&state);
        views(&state);
        settle(&state);
    }
    return !search.wrong;
}

UNIT_TEST(v9_v14_nothing_executes_twice_or_late_or_refused)
{
    search.states = calloc(STATES_MAX, sizeof(*search.states));
    search.slots = calloc(2 * (size_t) STATES_MAX, sizeof(*search.slots));
    assert(search.states != NULL && search.slots != NULL);
    expect(search_all(NOTHING));
    expect(search.count > 2000000);
    for (enum canary canary = FIRST_NUMBER; canary < CANARY_COUNT; canary++) {
        expect(!search_all(canary));
    }
    free(search.states);
    free(search.slots);
}

UNIT_MAIN(test_sessions)
