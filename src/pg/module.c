/* SPDX-License-Identifier: PostgreSQL */
/*
 * Where the library begins. Loaded by shared_preload_libraries, it sets everything up. Loaded
 * later, as by CREATE EXTENSION alone, it only defines the functions, and they say which line of
 * the configuration is missing. pg_upgrade needs only the functions, too. In both cases the server
 * may be one that should get an existing ledger: see awaited.h.
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
 * In the worker, a failed assertion ends only the worker, with an exit code at which the postmaster
 * quietly starts it again. In a backend, which uses the core's code only to pack and unpack, it
 * ends the statement. If a second one fails on the way out, there is no orderly way left: the
 * process crashes, and the postmaster starts everything anew.
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
