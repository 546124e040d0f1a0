/* SPDX-License-Identifier: PostgreSQL */
/*
 * Where the library begins. Loaded by shared_preload_libraries, it sets everything up; loaded later
 * (CREATE EXTENSION alone), it only defines functions, and those say which line is missing.
 * pg_upgrade needs only the functions, too. What either makes is a server that may have to get the
 * ledger of another one: see awaited.h.
 */
#include "postgres.h"
#include "pg/compat.h"

#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"

#include "base/assert.h"
#include "pg/client/commit_mode.h"
#include "pg/settings.h"
#include "pg/shared.h"
#include "pg/sql/lifecycle.h"
#include "pg/worker/awaited.h"
#include "pg/worker/worker.h"

COMPAT_MODULE_MAGIC("ledger", "1.0");

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
    const bool preloads = process_shared_preload_libraries_in_progress;
    if (IsBinaryUpgrade || (creating_extension && !preloads)) awaited_put();
    if (IsBinaryUpgrade || !preloads) return;
    settings_define();
    shared_request();
    commit_mode_install();
    lifecycle_install();
    worker_register();
}

/*
 * In the worker, a failed assertion ends the worker alone, with an exit code that the postmaster
 * takes for a quiet restart. In a backend, which only packs and unpacks with the core's code, it
 * ends the statement. A second one on the way out leaves no orderly way: then the process crashes,
 * and the postmaster starts all over.
 */
void
assert_failed(const char *expression, const char *file, int line)
{
    static int failures;
    char detail[512];
    failures += 1;
    if (failures > 1 && worker_is_here()) abort();
    snprintf(detail, sizeof(detail), "%s, at %s:%d.", expression, file, line);
    if (worker_is_here()) {
        worker_fail(
            "an internal check failed",
            detail,
            "This is a bug in ledger. The engine restarts from what is durable; please report it.");
    }
    ereport(
        ERROR,
        errcode(ERRCODE_INTERNAL_ERROR),
        errmsg("ledger: an internal check failed"),
        errdetail("%s", detail));
    pg_unreachable();
}
