/* SPDX-License-Identifier: PostgreSQL */
/*
 * Does a statement provably change nothing but the ledger?
 *
 * It looks at the plan, not at the text, because the plan contains views, policies and inlined
 * functions. The plan must be that of a SELECT, without WITH queries that write, and without FOR
 * UPDATE. Each function in it, by whatever syntax it is called, must be
 *
 *      the ledger's own;
 *      or declared stable or immutable;
 *      or volatile, and known to write nothing: catalog functions that are listed here, and those
 *      of a few libraries.
 *
 * A declaration may be wrong, and users' functions may hide where no plan shows them: behind the
 * operators of a sort, or in the checks of a domain that a function of the server reads. So the
 * caller also looks at what the transaction has done, and makes it read-only (commit_mode.c). It
 * can't make it read-only if the statement takes numbers from sequences: that is writing, although
 * nothing that a transaction could undo. Such a statement may call only functions of the server, of
 * the ledger and of these libraries.
 */
#ifndef LEDGER_PG_CLIENT_EFFECTS_H
#define LEDGER_PG_CLIENT_EFFECTS_H

#include <stdbool.h>

#include "nodes/plannodes.h"

struct effects {
    const char *reason; /* Why it may change more, as a sentence. NULL if it provably doesn't. */
    bool sequences;     /* It takes numbers from sequences. */
};

struct effects effects_of_plan(const PlannedStmt *statement);

#endif
