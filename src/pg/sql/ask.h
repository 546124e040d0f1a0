/* SPDX-License-Identifier: PostgreSQL */
/* How a function of SQL has a command (command.h) carried out, and says what came of it. */
#ifndef LEDGER_PG_SQL_ASK_H
#define LEDGER_PG_SQL_ASK_H

#include "postgres.h"

#include "pg/client/availability.h"
#include "pg/command.h"

/* Raises an error, unless the user is a superuser; below, and the transaction may write. */
void ask_check_superuser(const char *function_name);
void ask_check_allowed(const char *function_name);

/* Like availability_wait_settled, but it also waits for a worker that is away for a moment. */
void ask_wait_settled(struct availability *availability);

/*
 * Asks the worker, if it is in a state to take the command. Returns true if it did, and `command`
 * has the result. Otherwise returns false, and `availability` says why.
 */
bool ask_worker(struct command *command, struct availability *availability);

/* Reports why a command wasn't carried out, after `message`, which may be NULL. */
void ask_report(int level, const char *message, const struct refusal *why);

#endif
