/* SPDX-License-Identifier: PostgreSQL */
/* The executor's side of the foreign tables. */
#ifndef LEDGER_PG_FDW_SCAN_H
#define LEDGER_PG_FDW_SCAN_H

#include "commands/explain.h"
#include "foreign/fdwapi.h"

#include <stdint.h>

void fdw_begin_scan(ForeignScanState *node, int executor_flags);
TupleTableSlot *fdw_iterate_scan(ForeignScanState *node);
void fdw_rescan(ForeignScanState *node);
void fdw_end_scan(ForeignScanState *node);
void fdw_explain_scan(ForeignScanState *node, ExplainState *explain);

/* Requests made and records read so far, including earlier runs of the scan. */
void fdw_scan_counts(const ForeignScanState *node, uint64_t *requests, uint64_t *records);

#endif
