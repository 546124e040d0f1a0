/* SPDX-License-Identifier: PostgreSQL */
/*
 * May a call write to the ledger here and now? And is it a whole transaction by itself? That
 * decides what ledger.commit_mode = auto means for it.
 *
 * A call is alone if the transaction provably changes nothing but the ledger:
 *
 *    - it is in no transaction block (nor the implicit one of several statements in one message),
 *      and in no subtransaction;
 *    - the client's own statement makes it, not a function in another language;
 *    - that statement is a SELECT, its EXPLAIN ANALYZE, its COPY to the client or a file, or its
 *      EXECUTE; or it is a function call message of the protocol. Its rows go to no table or
 *      cursor;
 *    - its plan changes nothing else (effects.h);
 *    - the transaction has no id yet, so it has written nothing.
 *
 * Then the transaction is closed to everything else: it becomes read-only, it ends with the
 * statement if the client sends several in a pipeline, and it fails if it has an id when it
 * commits. So if a wrongly declared function writes something later, that fails loudly.
 *
 * A statement may call the ledger more than once, and fail after a call. Each call takes effect by
 * itself, when it returns. If an error comes after one, its context says so.
 */
#ifndef LEDGER_PG_CLIENT_COMMIT_MODE_H
#define LEDGER_PG_CLIENT_COMMIT_MODE_H

/* Called once, while shared_preload_libraries are loaded. */
void commit_mode_install(void);

/*
 * Raises an error if the function (as SQL names it) must not write here: in a read-only
 * transaction, on a standby, in a parallel worker; or if ledger.commit_mode asks for what this
 * version can't do, or is auto and the call is not a whole transaction by itself. If it is one,
 * closes the transaction. Each function that writes calls it once, first.
 */
void commit_mode_check(const char *function_name);

/* Counts a call that has taken effect. */
void commit_mode_count_write(void);

#endif
