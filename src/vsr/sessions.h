/* SPDX-License-Identifier: PostgreSQL */
/*
 * Which requests count: each once, and none that was overtaken.
 *
 * The clients of the log are the replicas. Each start of one is a session, and has a higher number
 * than those before it. The requests of a session are numbered 1, 2, 3 … For each slot of the
 * cluster, here is the newest session, and the highest number of it that is taken. Two such tables
 * are kept:
 *
 *  - `sessions`, of the ops that were executed. It is part of the replicated state: the same on
 *    each replica after the same op, and kept in the checkpoint.
 *  - `accepted`, at a primary: that, and also what the ops beyond have, up to its newest, and what
 *    it has refused. By it the primary judges what comes.
 *
 * Rules, which the primary keeps so that each log does:
 *  (V9) in the log, the numbers of a session ascend strictly, and what follows a newer session of
 *       the slot is never of an older one.
 *  (V14) a request that was refused never executes: its number counts as accepted.
 *
 * So a request that arrives twice, late, or after another that was sent behind it, is not accepted.
 * Requests that come together must have consecutive numbers, and the first of them is what counts:
 * by the last one, requests cut into groups differently the second time would be taken twice.
 *
 * For example, slot 2 has sent requests 7, 8 and 9 of its session. The primary takes 7 and 8 into a
 * prepare. Now 7 … 9 arrive together, sent again: 7 isn't above 8, so all are ignored. When 9
 * arrives alone, it is taken.
 *
 * Everything here is a function of its arguments; nothing waits and nothing fails.
 */
#ifndef LEDGER_VSR_SESSIONS_H
#define LEDGER_VSR_SESSIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"

struct session {
    uint64_t session; /* 0: the slot has had none. */
    uint64_t number;  /* The highest that was taken; 0: none yet. */
};

struct sessions {
    struct session slots[MEMBERS_MAX];
};
static_assert(sizeof(struct sessions) == MEMBERS_MAX * 2 * sizeof(uint64_t), "no padding");

/* False if no log leads to such a table. For bytes from a disk or a peer. */
bool sessions_valid(const struct sessions *sessions);

/*
 * From here on the session is the slot's newest, and nothing of older ones is accepted. If it is
 * the newest already, it goes on; if it is an older one, nothing changes.
 */
void sessions_begin(struct sessions *sessions, uint8_t slot, uint64_t session);

/* May the requests from number `first` on be accepted, as far as the newest session goes (V9)? */
bool sessions_accepts(
    const struct sessions *sessions,
    uint8_t slot,
    uint64_t session,
    uint64_t first);

/*
 * Could a log that leads to `sessions` have the requests from `first` on next? Unlike what a
 * primary accepts, they may begin a session.
 */
bool sessions_precede(
    const struct sessions *sessions,
    uint8_t slot,
    uint64_t session,
    uint64_t first);

/*
 * Takes the requests up to number `last`: into `sessions` when they were executed; into `accepted`
 * when they were put into a prepare, were found in the log, or are about to be refused (V14).
 * Precondition: sessions_precede, for the first of them.
 */
void sessions_take(struct sessions *sessions, uint8_t slot, uint64_t session, uint64_t last);

#endif
