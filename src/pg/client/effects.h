/* SPDX-License-Identifier: PostgreSQL */
/*
 * Does a statement provably change nothing but the ledger?
 *
 * The plan is looked at, not the text: views, policies and inlined functions are in it. It must be
 * a SELECT, without WITH queries that write and without FOR UPDATE, and each function in it, by
 * whatever syntax it is called, must be
 *
 *     the ledger's own;
 *     or declared stable or immutable;
 *     or volatile, and known to write nothing: catalog functions that are listed here, and those of
 *     a few libraries.
 *
 * A declaration may be wrong, and functions of users hide where no plan shows them: behind the
 * operators of a sort, or in the checks of a domain that a function of the server reads. So the
 * caller also looks at what the transaction has done, and makes it read-only (commit_mode.c). The
 * latter is impossible where the statement takes numbers from sequences: they write, though nothing
 * that a transaction could undo. Such a statement may call no functions but the server's, the
 * ledger's and those of these libraries.
 */
#ifndef LEDGER_PG_CLIENT_EFFECTS_H
#define LEDGER_PG_CLIENT_EFFECTS_H

#include <stdbool.h>

#include "nodes/plannodes.h"

struct effects {
    const char *reason; /* Why it may change more, as a sentence; NULL if it provably doesn't. */
    bool sequences;     /* It takes numbers from sequences. */
};

struct effects effects_of_plan(const PlannedStmt *statement);

#endif
