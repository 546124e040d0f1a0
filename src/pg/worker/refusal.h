/* SPDX-License-Identifier: PostgreSQL */
/*
 * Why the engine does not open: message, detail and hint, for the log, for the monitoring views,
 * and for callers.
 */
#ifndef LEDGER_PG_WORKER_REFUSAL_H
#define LEDGER_PG_WORKER_REFUSAL_H

#include "postgres.h"

#include "engine/engine.h"
#include "pg/monitor_shared.h"

/* Each sets one of the three texts. A text that is too long is cut. */
void refusal_message(struct refusal *refusal, const char *format, ...) pg_attribute_printf(2, 3);
void refusal_detail(struct refusal *refusal, const char *format, ...) pg_attribute_printf(2, 3);
void refusal_hint(struct refusal *refusal, const char *format, ...) pg_attribute_printf(2, 3);

/* Sets the texts for a result other than ENGINE_OPENED. */
void refusal_of_open(
    struct refusal *refusal,
    enum engine_open_result result,
    const struct engine_open_report *report,
    const char *directory);

/* There is no ledger. Names the ways to get one. */
void refusal_of_none(struct refusal *refusal, const char *directory);

/* The same of a node of a cluster. `trouble`: whom it can't reach, and why; or empty. */
void refusal_of_guest(struct refusal *refusal, const char *trouble);

/*
 * The directory is that of the member `node`, and PGDATA isn't the one that it was made with. `why`
 * is a sentence, or empty.
 */
void refusal_of_member_directory(
    struct refusal *refusal, const char *directory, const char *node, const char *why);

/* The directory is an older one than its peers know, or a copy (vsr/fences.h). */
void refusal_of_copy(struct refusal *refusal, const char *directory);

/* The directory is that of the member `node`, and this node has another name. */
void refusal_of_other_node(struct refusal *refusal, const char *directory, const char *node);

/* The texts for IDENTITY_REFUSE_…, and for a superblock that holds another identity. */
void refusal_of_missing_directory(struct refusal *refusal, const char *directory);
void refusal_of_foreign_directory(struct refusal *refusal, const char *directory);
void refusal_of_directory_without_ledger(struct refusal *refusal, const char *directory);

/*
 * The hint for a directory that can be adopted; below, the texts for one that is an older copy of
 * this ledger.
 */
void refusal_hint_adopt(struct refusal *refusal, const char *ledger);
struct identity;
void refusal_of_older_directory(
    struct refusal *refusal,
    const char *directory,
    const struct identity *noted,
    uint64 op,
    uint64 view);

#endif
