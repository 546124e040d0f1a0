/* SPDX-License-Identifier: PostgreSQL */
/*
 * The functions that form and change a cluster, and the function behind the view ledger.cluster.
 * What they do is not part of the transaction.
 */
#ifndef LEDGER_PG_SQL_CLUSTER_H
#define LEDGER_PG_SQL_CLUSTER_H

#include "postgres.h"

/* Of an enum engine_member_state. */
const char *cluster_state_name(uint8 state);

#endif
