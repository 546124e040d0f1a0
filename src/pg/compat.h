/* SPDX-License-Identifier: PostgreSQL */
/*
 * Everything that differs between the PostgreSQL versions that are supported (15 … 18), and
 * nothing else. The rest of the glue is written for one server. Included right after postgres.h.
 */
#ifndef LEDGER_PG_COMPAT_H
#define LEDGER_PG_COMPAT_H

#include "access/stratnum.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "optimizer/pathnode.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "postmaster/bgworker_internals.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/dest.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/wait_event.h"
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#include "storage/waiteventset.h"
#endif

#if PG_VERSION_NUM < 150000
#error "ledger needs PostgreSQL 15 or newer"
#endif

/*
 * 16: portability/instr_time.h defines names that base/units.h has too, as signed numbers of the
 * same values. It is included here, first, and its names are removed; otherwise whichever header
 * comes second would redefine them. That is why each file includes this one right after postgres.h.
 */
#undef NS_PER_US
#undef NS_PER_MS
#undef NS_PER_S
#include "base/units.h"

/* 17: proc numbers got a name of their own. */
#if PG_VERSION_NUM >= 170000
#define compat_my_proc_number() ((uint32) MyProcNumber)
#else
#define compat_my_proc_number() ((uint32) MyProc->pgprocno)
#endif

/* 17: custom wait events have names; before, all are shown as Extension. */
static inline uint32
compat_wait_event(const char *name)
{
#if PG_VERSION_NUM >= 170000
    return WaitEventExtensionNew(name);
#else
    return PG_WAIT_EXTENSION;
#endif
}

/* 17: sets of wait events belong to a resource owner instead of a memory context. */
static inline WaitEventSet *
compat_create_wait_event_set(int event_count)
{
#if PG_VERSION_NUM >= 170000
    return CreateWaitEventSet(NULL, event_count);
#else
    return CreateWaitEventSet(TopMemoryContext, event_count);
#endif
}

/*
 * Has the server registered the worker, or had it no place for it? To be asked in the postmaster,
 * after the registration. 18: the list is doubly linked.
 */
static inline bool
compat_background_worker_is_registered(const char *name)
{
#if PG_VERSION_NUM >= 180000
    dlist_iter each;
    dlist_foreach (each, &BackgroundWorkerList) {
        const RegisteredBgWorker *worker =
            dlist_container(RegisteredBgWorker, rw_lnode, each.cur);
        if (strcmp(worker->rw_worker.bgw_name, name) == 0) return true;
    }
#else
    slist_iter each;
    slist_foreach (each, &BackgroundWorkerList) {
        const RegisteredBgWorker *worker =
            slist_container(RegisteredBgWorker, rw_lnode, each.cur);
        if (strcmp(worker->rw_worker.bgw_name, name) == 0) return true;
    }
#endif
    return false;
}

/* 18: ExecutorRun lost its last parameter. */
#if PG_VERSION_NUM >= 180000
#define COMPAT_EXECUTOR_RUN_PARAMETERS QueryDesc *query, ScanDirection direction, uint64 count
#define COMPAT_EXECUTOR_RUN_ARGUMENTS query, direction, count
#else
#define COMPAT_EXECUTOR_RUN_PARAMETERS                                                             \
    QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once
#define COMPAT_EXECUTOR_RUN_ARGUMENTS query, direction, count, execute_once
#endif

/* 18: pg_attribute_noreturn() is gone. */
#ifndef pg_attribute_noreturn
#define pg_attribute_noreturn() _Noreturn
#endif

/* 17: EXPLAIN has a receiver of its own, which measures what rows take on the wire. */
static inline bool
compat_is_explain_receiver(const DestReceiver *receiver)
{
#if PG_VERSION_NUM >= 170000
    return receiver->mydest == DestExplainSerialize;
#else
    return false;
#endif
}

/* 18: a library says its name and version. */
#ifdef PG_MODULE_MAGIC_EXT
#define COMPAT_MODULE_MAGIC(module_name, module_version)                                           \
    PG_MODULE_MAGIC_EXT(.name = (module_name), .version = (module_version))
#else
#define COMPAT_MODULE_MAGIC(module_name, module_version) PG_MODULE_MAGIC
#endif

/* 17 and 18: it has more parameters. None of our paths is disabled, and none restricts a join. */
#if PG_VERSION_NUM >= 180000
#define compat_create_foreignscan_path(root, rel, rows, startup, total, keys, outer, data)         \
    create_foreignscan_path(                                                                       \
        root, rel, NULL, rows, 0, startup, total, keys, outer, NULL, NIL, data)
#elif PG_VERSION_NUM >= 170000
#define compat_create_foreignscan_path(root, rel, rows, startup, total, keys, outer, data)         \
    create_foreignscan_path(root, rel, NULL, rows, startup, total, keys, outer, NULL, NIL, data)
#else
#define compat_create_foreignscan_path(root, rel, rows, startup, total, keys, outer, data)         \
    create_foreignscan_path(root, rel, NULL, rows, startup, total, keys, outer, NULL, data)
#endif

/* 18: orders are no longer named by strategy numbers. */
static inline bool
compat_pathkey_is_descending(const PathKey *key)
{
#if PG_VERSION_NUM >= 180000
    return key->pk_cmptype == COMPARE_GT;
#else
    return key->pk_strategy == BTGreaterStrategyNumber;
#endif
}

#endif
