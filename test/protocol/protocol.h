/* SPDX-License-Identifier: PostgreSQL */
/*
 * An explicit-state checker of the protocol of doc/replication.md: all that some replicas can do,
 * with few ops and views, and with crashes and rotten sectors up to a bound.
 *
 * Replicas make ops, append them, acknowledge them, suspect, vote, choose, take over logs, crash at
 * each stage of a write, and recover. A new view's log is chosen by src/vsr/view_choice.c, from
 * votes that are translated into its structures. All else is the checker's own: who has
 * acknowledged what, what is thereby committed, and the checks.
 *
 *     state.h  what there is      recovery.c  crashes, appends, restarts
 *     vote.c   votes, the choice  view.c      starting a view, installing it
 *     checks.c what must hold     steps.c     what can happen next
 *     search.c all states, walks  main.c      which bounds, which mutations
 *
 * Simplified: messages are sets, so each may be lost, late, doubled or out of order. Any replica
 * may suspect at any time. A place of the log is one op's. A header's sector has every other op's
 * entry. The superblock is written at once. A replica acknowledges as soon as it may. Not in it:
 * rings that wrap, checkpoints, changes of voters, crashes within recovery's own writes.
 */
#ifndef LEDGER_TEST_PROTOCOL_PROTOCOL_H
#define LEDGER_TEST_PROTOCOL_PROTOCOL_H

#include <stdbool.h>
#include <stdint.h>

#include "state.h"

/* Rules that can be left out, or broken: each must be noticed. */
enum mutation {
    MUTATION_NONE,
    VIEW_NOT_DURABLE,       /* It votes before its view is durable. */
    LOG_VIEW_NOT_DURABLE,   /* It acknowledges before log_view is durable. */
    PRIMARY_RESUMES,        /* A primary that restarts goes on in its view. */
    ACKS_OF_OTHER_VIEWS,    /* Acknowledgements are counted whatever their view. */
    DAMAGE_NACKS,           /* What is damaged counts as what was never there. */
    NACK_QUORUM_LESS,       /* One nack less suffices. */
    ALL_EVIDENCE_COUNTS,    /* Any intact entry is of the log. */
    OLDER_LOG_NACKS,        /* A vote of an older log nacks whatever is in it. */
    UNCERTAIN_COUNTED,      /* Uncertain votes at the highest log_view are counted. */
    UNREADABLE_BLANKED,     /* Recovery writes blank over a header that is unreadable. */
    HEARTBEAT_CLEARS,       /* A heartbeat, which may be old, makes a log certain. */
    UNLINKED_EXECUTED,      /* What isn't linked to the view's log is executed. */
    START_VIEW_CUTS_AGAIN,  /* An old start_view cuts in a view that was installed already. */
    FOREIGN_COMMIT,         /* commit_max is taken from a view that isn't installed. */
    HEAD_BY_KNOWN_HEADERS,  /* The log ends where no header is known. */
    LIST_IGNORED,           /* Evidence counts although the suffix lists another op. */
    DAMAGE_ACKNOWLEDGED,    /* It acknowledges what isn't whole. */
    INSTALL_MAKES_CERTAIN,  /* After an install, an uncertain log nacks. */
    INSTALL_BLANKS,         /* An install forgets unreadable headers of listed ops. */
    MUTATIONS,
};

struct settings {
    uint32_t replicas;
    uint32_t ops;
    uint32_t views;
    uint32_t crashes;
    uint32_t faults;
    uint32_t window; /* Uncommitted ops, and headers in the superblock besides the newest. */
    enum mutation mutation;
};

extern struct settings settings;

/* ---- What happens ---------------------------------------------------------------------------- */

enum step_kind {
    STEP_RESTART,
    STEP_ROT_PREPARE,
    STEP_ROT_HEADERS,
    STEP_CRASH,
    STEP_VOTE,
    STEP_REPAIR,
    STEP_COMMIT,
    STEP_MAKE,
    STEP_APPEND,
    STEP_LEARN,
    STEP_INSTALL,
    STEP_START,
    STEP_MUTATION,
};

struct step {
    enum step_kind kind;
    uint8_t replica;
    uint8_t of;     /* The op or the view. */
    uint8_t detail; /* The stage, or the head. */
};

/* Called for each step that is possible. `violation` is NULL if all holds after it. */
typedef void step_visit(
    void *context,
    const struct state *next,
    struct step step,
    const char *violation);

/* Calls `visit` with what each step that is possible in `from` makes of it. */
void steps_each(const struct state *from, step_visit *visit, void *context);

/* ---- Parts of steps: recovery.c, vote.c, view.c ---------------------------------------------- */

/* How far an append came. */
enum append_stage { APPEND_DONE, PREPARE_TORN, HEADER_OLD, HEADER_TORN, APPEND_STAGES };

void replica_crash(struct replica *replica);

/* False if the replica would need a view beyond the bound. */
bool replica_restart(struct state *state, uint32_t index);

/* Appends the op at `op` of its view's log. Stages other than APPEND_DONE end in a crash. */
void replica_append(struct state *state, uint32_t index, uint32_t op, enum append_stage stage);

/* Writes the sector of the op's header, with what memory has of the others in it. */
void headers_write(struct replica *replica, uint32_t op);

/* True if the superblock's suffix lists that op. */
bool suffix_lists(const struct replica *replica, uint32_t op);

void replica_vote(struct state *state, uint32_t index);

/* What a set of votes chose. */
struct chosen {
    uint8_t committed;
    uint8_t head;
    uint8_t chain[OPS_MAX + 1]; /* After `committed`. */
};

/*
 * The choices that the replica may make as primary of its view: by each set of votes, of each
 * replica its newest, or one before. Returns how many.
 */
#define CHOICES_MAX 16
uint32_t choices_of(const struct state *state, uint32_t index, struct chosen choices[CHOICES_MAX]);

void view_start(struct state *state, uint32_t index, const struct chosen *chosen);
void view_install(struct state *state, uint32_t index, uint32_t view, uint32_t head);

/* The op up to which the replica's log is that of the view. */
uint32_t log_common(const struct replica *replica, const struct view *view);

/* ---- What must hold: checks.c ---------------------------------------------------------------- */

/* What a step has broken, or NULL. The first is kept. */
extern const char *violation;

void violated(const char *what);

/* The replica acknowledges what it may, in the view that it is in. */
void acknowledge(struct state *state, uint32_t index);

/* True if a majority has acknowledged that op of the view's log. */
bool acknowledged(const struct state *state, uint32_t view, uint32_t op);

/* Notes what is committed in the view. It must be the only such op, and in later views' logs. */
void check_commits(struct state *state, uint32_t view);

/* A view begins with this log: it has all that was committed before. */
void check_start(const struct state *state, uint32_t view);

/* What replicas execute is what was committed. */
void check_execution(const struct state *state);

/* ---- Searches: search.c ---------------------------------------------------------------------- */

struct search_result {
    bool violated;
    bool exhausted;
    uint64_t states;
    uint64_t steps;
};

/* All states, or as many as states_max; ends at the first violation, and prints how it came. */
struct search_result search_all(uint64_t states_max, bool print);

/* So many random walks from the start. */
struct search_result search_walks(uint64_t walks, uint64_t seed, bool print);

/* These steps from the start: how many are possible, and whether something is violated then. */
uint32_t search_along(const struct step *steps, uint32_t count, bool *found);

#endif
