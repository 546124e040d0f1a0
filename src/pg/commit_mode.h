/* SPDX-License-Identifier: PostgreSQL */
/*
 * Is a call a whole transaction by itself? Decides what ledger.commit_mode = auto means for it.
 */
#ifndef LEDGER_PG_COMMIT_MODE_H
#define LEDGER_PG_COMMIT_MODE_H

#include <stdbool.h>

/* Called once, while shared_preload_libraries are loaded. */
void commit_mode_install(void);

/*
 * True if nothing but the ledger can be changed by the transaction that the call runs in: the
 * statement came from the client alone, not in a transaction block, a function, a procedure, DO or
 * a trigger, and it writes to no table. Then the transaction is also made to end with the
 * statement, where a client sends several in a pipeline.
 */
bool commit_mode_call_is_alone(void);

#endif
