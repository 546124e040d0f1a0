/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/worker/refusal.h"

#include <stdarg.h>

#include "base/units.h"
#include "miscadmin.h"
#include "pg/worker/identity.h"
#include "pg/settings.h"

#define HINT_RESTORE                                                                               \
    "Restore the ledger's data directory together with " IDENTITY_FILE                             \
    " from a backup. Nothing was changed; keep a copy of the directory as it is before you do."

void
refusal_message(struct refusal *refusal, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void) vsnprintf(refusal->message, sizeof(refusal->message), format, arguments);
    va_end(arguments);
}

void
refusal_detail(struct refusal *refusal, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void) vsnprintf(refusal->detail, sizeof(refusal->detail), format, arguments);
    va_end(arguments);
}

void
refusal_hint(struct refusal *refusal, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void) vsnprintf(refusal->hint, sizeof(refusal->hint), format, arguments);
    va_end(arguments);
}

void
refusal_of_guest(struct refusal *refusal, const char *trouble)
{
    refusal->none = true;
    refusal_message(refusal, "this server is not a member of the ledger's cluster yet");
    refusal_detail(
        refusal,
        "It is node \"%s\", and has no ledger.%s%s%s",
        settings_node_name,
        trouble[0] == '\0' ? "" : " No connection with ",
        trouble,
        trouble[0] == '\0' ? "" : ".");
    refusal_hint(
        refusal,
        "Run ledger.cluster_create() here, or ledger.cluster_add('%s') at a member.",
        settings_node_name);
}

void
refusal_of_other_node(struct refusal *refusal, const char *directory, const char *node)
{
    refusal_message(
        refusal, "ledger data directory \"%s\" is that of another node", directory);
    refusal_detail(
        refusal, "It is of node \"%s\", and this is node \"%s\".", node, settings_node_name);
    refusal_hint(
        refusal,
        "Correct ledger.node_name or ledger.data_directory, and restart the server. A directory can't change its node.");
}

void
refusal_of_member_directory(
    struct refusal *refusal, const char *directory, const char *node, const char *why)
{
    refusal_message(
        refusal,
        "ledger data directory \"%s\" is that of a cluster's member, and this PGDATA isn't its own",
        directory);
    refusal_detail(
        refusal,
        "%s%sIt is of node \"%s\". A member's directory can't be adopted: the others know it with the PGDATA that it was made with.",
        why,
        why[0] == '\0' ? "" : " ",
        node);
    refusal_hint(
        refusal,
        "Restore " IDENTITY_FILE
        " of that PGDATA, if it is this server's. Otherwise call ledger.cluster_remove('%s') at a member, stop this server, remove this directory and " IDENTITY_FILE
        " from PGDATA, start it, and call ledger.cluster_add('%s') at a member.",
        node,
        node);
}

void
refusal_of_copy(struct refusal *refusal, const char *directory)
{
    refusal_message(
        refusal,
        "ledger data directory \"%s\" is older than what node \"%s\" was at, or a copy of it",
        directory,
        settings_node_name);
    refusal_detail(
        refusal,
        "The other nodes know that node \"%s\" had come further, or that another directory runs as this node. What it has promised since isn't in this one, so it is never let in again. The ledger isn't affected.",
        settings_node_name);
    refusal_hint(
        refusal,
        "If another server runs as this node, stop this one, and correct ledger.node_name. Otherwise call ledger.cluster_remove('%s') at a member, stop this server, remove this directory and " IDENTITY_FILE
        " from PGDATA, start it, and call ledger.cluster_add('%s') at a member.",
        settings_node_name,
        settings_node_name);
}

static void
refuse_alone(struct refusal *refusal, const char *directory)
{
    refusal_message(
        refusal, "ledger data directory \"%s\" is that of a cluster's member", directory);
    refusal_detail(
        refusal,
        settings_has_node()
            ? "A member's directory can't be adopted."
            : "A member does nothing without the others, and ledger.node_name is not set.");
    refusal_hint(
        refusal,
        settings_has_node()
            ? "ledger.status says how its node becomes a member again."
            : "Set ledger.node_name to this node's name and ledger.nodes to the cluster's nodes, and restart the server.");
}

void
refusal_of_none(struct refusal *refusal, const char *directory)
{
    refusal->none = true;
    refusal_message(refusal, "this server has no ledger");
    refusal_detail(
        refusal,
        "There is neither a directory \"%s\" nor a file " IDENTITY_FILE
        " in PGDATA. An empty ledger is made only when somebody asks for it.",
        directory);
    refusal_hint(
        refusal,
        "After an upgrade or a restore, bring the ledger's directory there (or set ledger.data_directory and restart), and call ledger.adopt(). "
        "For a new, empty ledger: SELECT ledger.create_ledger().");
}

void
refusal_of_missing_directory(struct refusal *refusal, const char *directory)
{
    refusal_message(refusal, "ledger data directory \"%s\" is missing", directory);
    refusal_detail(
        refusal,
        "The file \"%s/" IDENTITY_FILE
        "\" says that this PostgreSQL cluster owns a ledger. An empty ledger is never put in its place.",
        DataDir);
    if (settings_has_node()) {
        refusal_hint(
            refusal,
            "Mount the directory, or correct ledger.data_directory. "
            "If it is lost, call ledger.cluster_remove('%s') at a member, remove " IDENTITY_FILE
            " from this PGDATA, restart the server, and call ledger.cluster_add('%s') at a member.",
            settings_node_name,
            settings_node_name);
        return;
    }
    refusal_hint(
        refusal,
        "Restore or mount the directory, or correct ledger.data_directory. "
        "If this PGDATA is a copy that is to have an empty ledger of its own, remove " IDENTITY_FILE
        " from it, reload the configuration, and call ledger.create_ledger().");
}

void
refusal_of_foreign_directory(struct refusal *refusal, const char *directory)
{
    refusal_message(
        refusal, "ledger data directory \"%s\" belongs to another PostgreSQL cluster", directory);
    refusal_hint(
        refusal,
        "Each server needs a ledger.data_directory of its own. See \"Upgrading and restoring\" in doc/operations.md.");
}

void
refusal_of_directory_without_ledger(struct refusal *refusal, const char *directory)
{
    refusal_message(refusal, "ledger data directory \"%s\" holds no ledger", directory);
    refusal_detail(
        refusal,
        "It exists, but holds none of the ledger's files, and there is no file " IDENTITY_FILE
        " in PGDATA.");
    refusal_hint(
        refusal,
        "If a file system should be mounted there, mount it. For a new ledger, the directory must not exist yet: remove it if it is empty, or set ledger.data_directory to a directory inside it.");
}

void
refusal_hint_adopt(struct refusal *refusal, const char *ledger)
{
    refusal_hint(
        refusal,
        "If this is the ledger that this server is to have (after pg_upgrade, or a restore), and no other server needs it: SELECT ledger.adopt('%s'). "
        "Otherwise restore the directory and " IDENTITY_FILE
        " of one backup, or correct ledger.data_directory.",
        ledger);
}

void
refusal_of_older_directory(
    struct refusal *refusal,
    const char *directory,
    const struct identity *noted,
    uint64 op,
    uint64 view)
{
    char ledger[IDENTITY_UUID_TEXT_SIZE];
    char lost[128] = "What was done after that opening would be lost.";
    identity_uuid_text(noted->owner.cluster, ledger);
    if (noted->op > op) {
        snprintf(
            lost,
            sizeof(lost),
            "Ops " UINT64_FORMAT " to " UINT64_FORMAT " at least would be lost.",
            op + 1,
            noted->op);
    }
    refusal->adoptable = !settings_has_node();
    refusal->ledger = noted->owner.cluster;
    refusal_message(
        refusal, "ledger data directory \"%s\" is older than this PGDATA", directory);
    refusal_detail(
        refusal,
        "It ends at op " UINT64_FORMAT ", and was opened " UINT64_FORMAT
        " times. The file " IDENTITY_FILE " in PGDATA has noted op " UINT64_FORMAT
        ", and " UINT64_FORMAT " times. %s",
        op,
        view,
        noted->op,
        noted->view,
        lost);
    if (settings_has_node()) {
        refusal_hint(
            refusal,
            "Bring back the newest copy of the directory. If it is lost, call ledger.cluster_remove('%s') at a member, stop this server, remove this directory and " IDENTITY_FILE
            " from PGDATA, start it, and call ledger.cluster_add('%s') at a member.",
            settings_node_name,
            settings_node_name);
        return;
    }
    refusal_hint(
        refusal,
        "Restore the newest copy of the directory. To go on without the ops that are missing: "
        "SELECT ledger.adopt('%s'). Payments that were acknowledged are then unknown, and are made again if they are retried.",
        ledger);
}

static void
refuse_journal(struct refusal *refusal, const struct journal_report *journal, const char *directory)
{
    char where[128] = "at an offset that is not known";
    if (journal->damage_offset_bytes != UINT64_MAX) {
        snprintf(
            where,
            sizeof(where),
            "at offset " UINT64_FORMAT ", size " UINT64_FORMAT,
            (uint64) journal->damage_offset_bytes,
            (uint64) journal->damage_size_bytes);
    }
    refusal_message(
        refusal,
        "ledger write-ahead log is damaged at op " UINT64_FORMAT,
        (uint64) journal->damage_op);
    if (journal->uncertain) {
        refusal_detail(
            refusal,
            "The entry of this op in file \"%s/%s\" is damaged: whether a transaction was acknowledged there can no longer be known (rule \"%s\").",
            directory,
            storage_file_name(STORAGE_HEADERS),
            journal->damage->name);
    } else {
        refusal_detail(
            refusal,
            "File \"%s/%s\", %s: a transaction that was acknowledged can no longer be read (rule \"%s\").",
            directory,
            storage_file_name(STORAGE_PREPARES),
            where,
            journal->damage == NULL ? "unknown" : journal->damage->name);
    }
    refusal_hint(refusal, "%s", HINT_RESTORE);
}

/* The superblock is intact as far as can be seen, but this build can't use it. */
static void
refuse_other_build(
    struct refusal *refusal, enum engine_open_result result, const char *directory)
{
    refusal_message(
        refusal, "ledger data directory \"%s\" was made by another version of ledger", directory);
    if (result == ENGINE_OPEN_OTHER_VERSION) {
        refusal_detail(
            refusal,
            "Its disk format is not %d, the only one of this version.",
            DISK_FORMAT_VERSION);
    } else {
        refusal_detail(refusal, "Its disk format is for a build with other limits than this one.");
    }
    refusal_hint(
        refusal,
        "Install the version that made it. Nothing was changed. A ledger can't be converted: to move it, read its accounts and transfers with that version, and import them into a new ledger.");
}

static void
refuse_superblock(struct refusal *refusal, const char *name, const char *directory)
{
    refusal_message(refusal, "ledger superblock cannot be used: %s", name);
    refusal_detail(refusal, "File \"%s/%s\".", directory, storage_file_name(STORAGE_SUPERBLOCK));
    refusal_hint(refusal, "%s", HINT_RESTORE);
}

static void
refuse_memory(struct refusal *refusal, uint64 needed_bytes)
{
    refusal_message(refusal, "ledger.memory is too small for this ledger");
    refusal_detail(
        refusal,
        "It is %d MB; at least " UINT64_FORMAT " MB are needed.",
        settings_memory_mb,
        (uint64) div_ceil(needed_bytes, MIB));
    refusal_hint(refusal, "Increase ledger.memory and restart the server. Nothing is lost.");
}

static void
refuse_grid(
    struct refusal *refusal, const struct engine_open_report *report, const char *directory)
{
    char needs[96] = "";
    if (report->ops_replayed > 0) {
        snprintf(
            needs,
            sizeof(needs),
            " Op " UINT64_FORMAT " of the log needs it, and can't be left out.",
            (uint64) report->op);
    }
    refusal_detail(
        refusal,
        "File \"%s/%s\", tree \"%s\".%s",
        directory,
        storage_file_name(STORAGE_GRID),
        report->tree_name == NULL ? "unknown" : report->tree_name,
        needs);
}

/* Says what is wrong with one file, and what to do. */
static void
refuse_file(
    struct refusal *refusal,
    enum engine_open_result result,
    const struct engine_open_report *report,
    const char *directory)
{
    switch (result) {
    case ENGINE_OPEN_ABSENT:
        refusal_message(refusal, "ledger data directory \"%s\" was never formatted", directory);
        refusal_detail(
            refusal, "Its superblock is blank, although it was complete when it was made.");
        break;
    case ENGINE_OPEN_SIZE_MISMATCH:
        refusal_message(refusal, "ledger write-ahead log is not as large as it was made");
        refusal_detail(
            refusal,
            "File \"%s\" or \"%s\" in \"%s\" was cut, extended or replaced.",
            storage_file_name(STORAGE_PREPARES),
            storage_file_name(STORAGE_HEADERS),
            directory);
        break;
    case ENGINE_OPEN_JOURNAL_SHORT:
        refusal_message(refusal, "ledger write-ahead log ends before what was committed");
        refusal_detail(
            refusal,
            "The log in \"%s\" ends at op " UINT64_FORMAT ", but the superblock knows a later one.",
            directory,
            (uint64) report->op);
        break;
    case ENGINE_OPEN_OTHER_LOG:
        refusal_message(
            refusal, "ledger op " UINT64_FORMAT " is of another log", (uint64) report->op);
        refusal_detail(
            refusal,
            "It cannot have been written after what the superblock in \"%s\" says of the log: one of the files is an older copy.",
            directory);
        break;
    case ENGINE_OPEN_GRID_CORRUPT:
        refusal_message(
            refusal, "ledger block " UINT64_FORMAT " is damaged", (uint64) report->block_address);
        refuse_grid(refusal, report, directory);
        break;
    default: /* The caller handles all other results. */
        assert(result == ENGINE_OPEN_INVALID_PREPARE);
        refusal_message(
            refusal, "ledger op " UINT64_FORMAT " cannot be replayed", (uint64) report->op);
        refusal_detail(refusal, "It is intact, but not one that this version of ledger makes.");
        refusal_hint(refusal, "Install the version of ledger that wrote it.");
        return;
    }
    refusal_hint(refusal, "%s", HINT_RESTORE);
}

void
refusal_of_open(
    struct refusal *refusal,
    enum engine_open_result result,
    const struct engine_open_report *report,
    const char *directory)
{
    switch (result) {
    case ENGINE_OPENED: unreachable();
    case ENGINE_OPEN_ABSENT:
    case ENGINE_OPEN_SIZE_MISMATCH:
    case ENGINE_OPEN_JOURNAL_SHORT:
    case ENGINE_OPEN_GRID_CORRUPT:
    case ENGINE_OPEN_OTHER_LOG:
    case ENGINE_OPEN_INVALID_PREPARE: refuse_file(refusal, result, report, directory); return;
    case ENGINE_OPEN_SUPERBLOCK:
        refuse_superblock(refusal, report->superblock_name, directory);
        return;
    case ENGINE_OPEN_OTHER_VERSION:
    case ENGINE_OPEN_OTHER_CONFIG: refuse_other_build(refusal, result, directory); return;
    case ENGINE_OPEN_OTHER_IDENTITY:
        /* The identity was compared before, under the same locks, so this is not expected. */
        refusal_of_foreign_directory(refusal, directory);
        return;
    /* It needs more information: refusal_of_older_directory. */
    case ENGINE_OPEN_BEHIND: unreachable();
    case ENGINE_OPEN_CLUSTER: refuse_alone(refusal, directory); return;
    case ENGINE_OPEN_OVER: refusal_of_copy(refusal, directory); return;
    case ENGINE_OPEN_JOURNAL_DAMAGED: refuse_journal(refusal, &report->journal, directory); return;
    case ENGINE_OPEN_MEMORY_TOO_SMALL: refuse_memory(refusal, report->memory_bytes_needed); return;
    case ENGINE_OPEN_DISK_FULL:
        refusal_message(refusal, "no space left for the ledger's files");
        refusal_detail(refusal, "Replaying the log needs a checkpoint in \"%s\".", directory);
        refusal_hint(refusal, "Make room, then reload the configuration. Nothing is lost.");
        return;
    case ENGINE_OPEN_IO_ERROR:
        refusal_message(refusal, "reading or writing the ledger's files failed");
        refusal_detail(refusal, "A file in \"%s\" cannot be read or written.", directory);
        refusal_hint(
            refusal, "Check the disk and the kernel's log, then reload the configuration.");
        return;
    }
    unreachable();
}
