/* SPDX-License-Identifier: PostgreSQL */
/*
 * Is a call a whole transaction by itself? Decides what ledger.commit_mode = auto means for it.
 *
 * A call is alone if the transaction provably changes nothing but the ledger:
 *
 *   - it is neither in a transaction block, also the implicit one of several statements in one
 *     message, nor in a subtransaction;
 *   - the client's own statement makes it, not a function of another language;
 *   - that statement is a SELECT, its EXPLAIN ANALYZE, its COPY to the client or a file, or its
 *     EXECUTE; or a function call message of the protocol. Its rows go to no table or cursor;
 *   - its plan changes nothing else (effects.h);
 *   - the transaction has no id yet: it has written nothing.
 *
 * Then the transaction is closed against everything else: it becomes read-only, it ends with the
 * statement where a client sends several in a pipeline, and it fails if it has an id when it
 * commits. So what a wrongly declared function would write later fails loudly.
 *
 * A statement may call the ledger more than once, and fail after a call: each call takes effect by
 * itself, when it returns. An error that comes after one says so in its context.
 */
#ifndef LEDGER_PG_CLIENT_COMMIT_MODE_H
#define LEDGER_PG_CLIENT_COMMIT_MODE_H

#include <stdbool.h>

/* Called once, while shared_preload_libraries are loaded. */
void commit_mode_install(void);

/*
 * Why the call that is being made is not a whole transaction by itself, as a sentence; NULL if it
 * is, and then the transaction is closed.
 */
const char *commit_mode_refuse(void);

/* The transaction is read-only because a call has closed it, which doesn't forbid further calls. */
bool commit_mode_closed(void);

/* A call has taken effect. */
void commit_mode_count_write(void);

#endif
