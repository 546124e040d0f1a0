/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/worker/awaited.h"

#include <unistd.h>

#include "common/file_perm.h"
#include "miscadmin.h"

#include "os/file_replacer.h"
#include "pg/worker/identity.h"

#define AWAITED_TEXT                                                                               \
    "This server was upgraded, or a dump with the extension ledger was restored into it,\n"        \
    "or the extension was made before the library was preloaded.\n"                                \
    "ledger.adopt() or ledger.create_ledger() gives it a ledger; CREATE EXTENSION does not.\n"

/* A name of its own for each session, since two sessions may put the file at the same time. */
static void
temporary_name(char path[MAXPGPATH])
{
    snprintf(path, MAXPGPATH, AWAITED_FILE ".%d.tmp", (int) getpid());
}

void
awaited_put(void)
{
    char temporary[MAXPGPATH];
    struct identity identity;
    if (identity_read(&identity) != IDENTITY_ABSENT || access(AWAITED_FILE, F_OK) == 0) return;
    temporary_name(temporary);
    const int error = file_replace(
        AWAITED_FILE, temporary, (mode_t) pg_file_create_mode, AWAITED_TEXT, strlen(AWAITED_TEXT));
    if (error == 0) return;
    (void) unlink(temporary);
    ereport(
        LOG,
        errmsg("could not write \"%s/" AWAITED_FILE "\": %s", DataDir, strerror(error)),
        errdetail("Without it, CREATE EXTENSION ledger makes an empty ledger."));
}

bool
awaited_is_put(void)
{
    return access(AWAITED_FILE, F_OK) == 0 || errno != ENOENT;
}

void
awaited_remove(void)
{
    if (unlink(AWAITED_FILE) == 0 || errno == ENOENT) return;
    const int error = errno;
    ereport(
        LOG, errmsg("could not remove \"%s/" AWAITED_FILE "\": %s", DataDir, strerror(error)));
}
