/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/worker/ownership.h"

#include "access/xlog.h"
#include "miscadmin.h"

#include "pg/settings.h"
#include "pg/worker/awaited.h"
#include "pg/worker/files.h"
#include "pg/worker/refusal.h"

/* ---- What PGDATA says ------------------------------------------------------------------------ */

/*
 * Refuses an identity file that is wrong. Returns false if it isn't; then *present says whether it
 * exists.
 */
static bool
identity_is_wrong(enum identity_result found, bool *present, struct refusal *refusal)
{
    *present = found == IDENTITY_PRESENT;
    switch (found) {
    case IDENTITY_PRESENT:
    case IDENTITY_ABSENT: return false;
    case IDENTITY_DAMAGED:
        refusal_message(refusal, "file \"%s/" IDENTITY_FILE "\" is damaged or was edited", DataDir);
        refusal_hint(refusal, "Restore it from a backup, then reload the configuration.");
        return true;
    case IDENTITY_OTHER_VERSION:
        refusal_message(
            refusal, "file \"%s/" IDENTITY_FILE "\" is of another version of ledger", DataDir);
        refusal_detail(
            refusal, "This version reads and writes version %d of the file.", IDENTITY_VERSION);
        refusal_hint(
            refusal,
            "Install the version of ledger that wrote it, or restore the file from a backup. "
            "If this server is to have a new, empty ledger, move the file and the ledger's directory away, reload the configuration, and call ledger.create_ledger().");
        return true;
    case IDENTITY_IO_ERROR:
        refusal_message(
            refusal, "could not read \"%s/" IDENTITY_FILE "\": %s", DataDir, strerror(errno));
        refusal_hint(
            refusal,
            "Correct the cause, or restore it from a backup; then reload the configuration.");
        return true;
    }
    unreachable();
}

/* Does the identity belong to another cluster than this one, which pg_control identifies? */
static bool
is_of_another_cluster(const struct identity *identity)
{
    return identity->owner.system_identifier != GetSystemIdentifier();
}

/* ---- At a start ------------------------------------------------------------------------------ */

/*
 * There is a data directory, but PGDATA doesn't match it. Says what it holds, and that it can be
 * adopted, or how a cluster's member comes back. `why` is a sentence, or empty.
 */
static void
refuse_adoptable(
    struct refusal *refusal,
    const struct directory *directory,
    const struct engine_inspection *inspection,
    const char *why)
{
    const struct engine_identity *holds = &inspection->identity;
    char ledger[IDENTITY_UUID_TEXT_SIZE];
    if (inspection->is_cluster) {
        refusal_of_member_directory(refusal, directory->path, inspection->node_name, why);
        return;
    }
    identity_uuid_text(holds->cluster, ledger);
    refusal->adoptable = true;
    refusal->ledger = holds->cluster;
    if (refusal->message[0] == '\0') refusal_of_foreign_directory(refusal, directory->path);
    refusal_detail(
        refusal,
        "%s%sThe directory holds ledger %s of the PostgreSQL cluster with system identifier "
        UINT64_FORMAT ".",
        why,
        why[0] == '\0' ? "" : " ",
        ledger,
        (uint64) holds->system_identifier);
    refusal_hint_adopt(refusal, ledger);
}

/*
 * PGDATA has no file that could match, so whatever the directory holds doesn't belong to this
 * server.
 */
static bool
refuse_unmatched(
    struct ownership *ownership,
    struct storage_os *storage,
    const char *why,
    struct refusal *refusal)
{
    const char *path = ownership->directory.path;
    struct engine_inspection inspection;
    struct refusal of_files = {0};
    if (!ownership->directory.present) return false;
    if (!directory_holds_files(&ownership->directory)) {
        if (refusal->message[0] == '\0') refusal_of_directory_without_ledger(refusal, path);
        return false;
    }
    if (!files_open(storage, path, 0, &of_files)) {
        if (refusal->message[0] == '\0') *refusal = of_files;
        return false;
    }
    if (files_inspect(storage, path, &inspection, &of_files)) {
        refuse_adoptable(refusal, &ownership->directory, &inspection, why);
    } else if (refusal->message[0] == '\0') {
        *refusal = of_files;
    }
    storage_os_close(storage);
    return false;
}

static bool
refuse_other_cluster(
    struct ownership *ownership, struct storage_os *storage, struct refusal *refusal)
{
    char why[384];
    const uint64 found = ownership->identity.owner.system_identifier;
    snprintf(
        why,
        sizeof(why),
        "The file \"" IDENTITY_FILE
        "\" in PGDATA is of a PostgreSQL cluster with system identifier " UINT64_FORMAT
        "; this one has " UINT64_FORMAT ".",
        found,
        (uint64) GetSystemIdentifier());
    if (ownership->directory.present) {
        return refuse_unmatched(ownership, storage, why, refusal);
    }
    refusal_message(
        refusal, "file \"%s/" IDENTITY_FILE "\" belongs to another PostgreSQL cluster", DataDir);
    refusal_detail(refusal, "%s", why);
    refusal_hint(
        refusal,
        "Set ledger.data_directory to the ledger's directory and restart the server, to adopt it. "
        "If this server is to have a ledger of its own, remove the file and reload the configuration.");
    return false;
}

/* There is a data directory, but no identity file. */
static bool
refuse_foreign(struct ownership *ownership, struct storage_os *storage, struct refusal *refusal)
{
    char why[MAXPGPATH + 64];
    snprintf(why, sizeof(why), "There is no file \"%.256s/" IDENTITY_FILE "\".", DataDir);
    return refuse_unmatched(ownership, storage, why, refusal);
}

/* Does the directory belong to another node of a cluster than this server is? */
static bool
is_of_other_node(const struct engine_inspection *inspection)
{
    return settings_has_node() && inspection->is_cluster &&
           strcmp(inspection->node_name, settings_node_name) != 0;
}

/* Both exist: opens the directory, and compares. */
static bool
open_own(
    struct ownership *ownership,
    struct storage_os *storage,
    int lock_wait_ms,
    struct refusal *refusal)
{
    const struct directory *directory = &ownership->directory;
    struct engine_inspection inspection;
    if (!files_open(storage, directory->path, lock_wait_ms, refusal)) return false;
    if (files_inspect(storage, directory->path, &inspection, refusal)) {
        ownership->view = inspection.view;
        if (is_of_other_node(&inspection)) {
            refusal_of_other_node(refusal, directory->path, inspection.node_name);
            storage_os_close(storage);
            return false;
        }
        if (identity_owner_equal(&inspection.identity, &ownership->identity.owner)) return true;
        const char *why = "That is not what \"" IDENTITY_FILE "\" in PGDATA names.";
        refuse_adoptable(refusal, directory, &inspection, why);
    }
    storage_os_close(storage);
    return false;
}

static void
refuse_none(const struct directory *directory, struct refusal *refusal)
{
    if (settings_has_node()) {
        refusal_of_guest(refusal, "");
    } else {
        refusal_of_none(refusal, directory->path);
    }
}

/*
 * PGDATA is a copy of another node's, and there is a directory: it is gone on with, if it is a
 * member's with this node's name, of this PostgreSQL cluster.
 */
static bool
take_own_name(struct ownership *ownership, struct storage_os *storage, struct refusal *refusal)
{
    const char *path = ownership->directory.path;
    struct engine_inspection inspection;
    if (!files_inspect(storage, path, &inspection, refusal)) return false;
    if (!inspection.is_cluster || is_of_other_node(&inspection)) {
        refusal_of_other_node(
            refusal,
            path,
            inspection.is_cluster ? inspection.node_name : ownership->identity.node);
        return false;
    }
    if (inspection.identity.system_identifier != GetSystemIdentifier()) {
        refusal_of_foreign_directory(refusal, path);
        return false;
    }
    ereport(
        LOG,
        errmsg("PGDATA is a copy of that of ledger node \"%s\"", ownership->identity.node),
        errdetail("This is node \"%s\", and goes on with \"%s\".", settings_node_name, path));
    ownership->view = inspection.view;
    ownership->identity = (struct identity){.owner = inspection.identity};
    return true;
}

/* PGDATA is a copy of another node's. Without a directory beside it, this node is a new one. */
static bool
settle_copy(
    struct ownership *ownership,
    struct storage_os *storage,
    int lock_wait_ms,
    struct refusal *refusal)
{
    const struct directory *directory = &ownership->directory;
    if (!directory->present) {
        refusal_of_guest(refusal, "");
        return false;
    }
    if (!files_open(storage, directory->path, lock_wait_ms, refusal)) return false;
    if (take_own_name(ownership, storage, refusal)) return true;
    storage_os_close(storage);
    return false;
}

bool
ownership_settle(
    struct ownership *ownership,
    struct storage_os *storage,
    int lock_wait_ms,
    struct refusal *refusal)
{
    struct directory *directory = &ownership->directory;
    bool present = false;
    *ownership = (struct ownership){0};
    if (!directory_find(directory, refusal)) return false;
    const enum identity_result found = identity_read(&ownership->identity);
    if (identity_is_wrong(found, &present, refusal)) {
        return refuse_unmatched(ownership, storage, "", refusal);
    }
    if (present && identity_is_of_another_node(&ownership->identity)) {
        return settle_copy(ownership, storage, lock_wait_ms, refusal);
    }
    if (present && is_of_another_cluster(&ownership->identity)) {
        return refuse_other_cluster(ownership, storage, refusal);
    }
    const struct identity *identity = present ? &ownership->identity : NULL;
    switch (identity_decide(identity, directory->present, directory->present_new)) {
    case IDENTITY_NONE: refuse_none(directory, refusal); return false;
    case IDENTITY_FINISH_RENAME:
        if (!directory_rename_new(directory, refusal)) return false;
        return open_own(ownership, storage, lock_wait_ms, refusal);
    case IDENTITY_OPEN: return open_own(ownership, storage, lock_wait_ms, refusal);
    case IDENTITY_REFUSE_MISSING:
        refusal_of_missing_directory(refusal, directory->path);
        return false;
    case IDENTITY_REFUSE_FOREIGN:
        return refuse_foreign(ownership, storage, refusal);
    }
    unreachable();
}

/* ---- A new ledger ---------------------------------------------------------------------------- */

static bool
write_identity(const struct identity *identity, struct refusal *refusal)
{
    if (identity_write(identity)) return true;
    const int error = errno;
    refusal_message(
        refusal, "could not write \"%s/" IDENTITY_FILE "\": %s", DataDir, strerror(error));
    refusal_hint(refusal, "Correct the cause, then try again.");
    refusal->sqlstate = error == ENOSPC ? ERRCODE_DISK_FULL : ERRCODE_IO_ERROR;
    return false;
}

static bool
refuse_no_randomness(struct refusal *refusal)
{
    refusal_message(refusal, "the system gave no random numbers for the ledger's identity");
    refusal_hint(refusal, "Try again.");
    return false;
}

/* Steps (1) to (3) of a creation. The files are open and locked from the first step to the last. */
static bool
publish_new(
    struct directory *directory, const struct identity *identity, struct refusal *refusal)
{
    struct directory now;
    if (!directory_sync_new(directory, refusal)) return false;
    /* Another server may have been faster. What it has made must not be overwritten. */
    if (!directory_find(&now, refusal)) return false;
    if (now.present) {
        refusal_of_foreign_directory(refusal, directory->path);
        refusal->sqlstate = ERRCODE_DUPLICATE_OBJECT;
        return false;
    }
    if (!write_identity(identity, refusal)) return false;
    if (directory_rename_new(directory, refusal)) return true;
    refusal_hint(
        refusal,
        "The ledger is made, but for its name. Correct the cause, then reload the configuration: the engine completes it.");
    return false;
}

/* Does PGDATA say that there is a ledger? One that is another node's copy doesn't. */
static bool
names_ledger(void)
{
    struct identity found;
    const enum identity_result result = identity_read(&found);
    if (result == IDENTITY_PRESENT && identity_is_of_another_node(&found)) return false;
    return result != IDENTITY_ABSENT;
}

/* Is there a ledger, or was there one? */
static bool
has_ledger(const struct directory *directory)
{
    return directory->present || names_ledger();
}

/* Makes the directory; on failure nothing of it stays, as far as the system allows. */
static bool
make_directory(
    struct directory *directory,
    struct identity *identity,
    const struct files_member *member,
    struct refusal *refusal)
{
    if (!directory_remove_new(directory, refusal)) return false;
    if (settings_has_node()) strlcpy(identity->node, settings_node_name, sizeof(identity->node));
    struct storage_os *storage = palloc0(sizeof(struct storage_os));
    bool made = files_create(storage, directory->path_new, &identity->owner, member, refusal);
    if (made) {
        made = publish_new(directory, identity, refusal);
        storage_os_close(storage);
    }
    pfree(storage);
    /* What another process uses, or is about to use, isn't this one's to remove. */
    if (!made && refusal->sqlstate != ERRCODE_OBJECT_IN_USE) {
        struct refusal ignored = {0};
        if (directory_find(directory, &ignored) && !names_ledger()) {
            (void) directory_remove_new(directory, &ignored);
        }
    }
    return made;
}

bool
ownership_create(u128 *ledger, struct refusal *refusal)
{
    struct ownership ownership = {0};
    struct directory *directory = &ownership.directory;
    if (!directory_find(directory, refusal)) return false;
    if (has_ledger(directory)) {
        refusal_message(refusal, "this server has a ledger already, or had one");
        refusal_hint(refusal, "Reload the configuration, then see ledger.status.");
        refusal->sqlstate = ERRCODE_DUPLICATE_OBJECT;
        return false;
    }
    if (!identity_make(&ownership.identity)) return refuse_no_randomness(refusal);
    if (!make_directory(directory, &ownership.identity, NULL, refusal)) return false;
    *ledger = ownership.identity.owner.cluster;
    awaited_remove();
    ereport(
        LOG,
        errmsg("ledger engine created an empty ledger in \"%s\"", directory->path),
        errdetail("Back it up together with \"%s/" IDENTITY_FILE "\".", DataDir));
    return true;
}

/* ---- Joining a cluster ----------------------------------------------------------------------- */

bool
ownership_join(const struct engine_welcome *welcome, struct refusal *refusal)
{
    struct ownership ownership = {.identity = {.owner = welcome->identity}};
    struct directory *directory = &ownership.directory;
    const struct files_member member = {
        .name = settings_node_name,
        .root_incarnation = welcome->root_incarnation,
    };
    char ledger[IDENTITY_UUID_TEXT_SIZE];
    ownership.identity.owner.system_identifier = GetSystemIdentifier();
    if (!directory_find(directory, refusal)) return false;
    if (has_ledger(directory)) {
        refusal_of_foreign_directory(refusal, directory->path);
        return false;
    }
    if (!make_directory(directory, &ownership.identity, &member, refusal)) return false;
    awaited_remove();
    identity_uuid_text(welcome->identity.cluster, ledger);
    ereport(
        LOG,
        errmsg("ledger node \"%s\" was let into the cluster of ledger %s", settings_node_name, ledger),
        errdetail("Its directory is \"%s\". The other nodes send what it lacks.", directory->path));
    return true;
}

/* ---- Adoption -------------------------------------------------------------------------------- */

static bool
refuse_wrong_ledger(
    struct refusal *refusal, const struct directory *directory, u128 asked, u128 found)
{
    char asked_text[IDENTITY_UUID_TEXT_SIZE];
    char found_text[IDENTITY_UUID_TEXT_SIZE];
    identity_uuid_text(asked, asked_text);
    identity_uuid_text(found, found_text);
    refusal_message(
        refusal,
        "ledger data directory \"%s\" does not hold ledger %s",
        directory->path,
        asked_text);
    refusal_detail(refusal, "It holds ledger %s. Nothing was changed.", found_text);
    refusal_hint(
        refusal,
        "Make sure that ledger.data_directory is the directory that you mean. If it is, name the ledger that it holds.");
    refusal->sqlstate = ERRCODE_INVALID_PARAMETER_VALUE;
    return false;
}

/*
 * The directory belongs to this server already. What keeps the engine from opening is something
 * else.
 */
static bool
refuse_own(struct refusal *refusal, const struct refusal *refused)
{
    *refusal = *refused;
    refusal_detail(
        refusal,
        "The ledger belongs to this server already, and adopting it would not help. %.400s",
        refused->detail);
    refusal->sqlstate = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    return false;
}

/* Does the two steps of an adoption. The files are open and locked. */
static bool
change_owner(
    struct storage_os *storage,
    const struct directory *directory,
    const struct engine_inspection *inspection,
    struct refusal *refusal)
{
    struct identity identity = {
        .view = inspection->view,
        .op = inspection->commit_op,
        .timestamp = inspection->checkpoint_timestamp,
    };
    if (!identity_make_incarnation(&inspection->identity, &identity.owner)) {
        return refuse_no_randomness(refusal);
    }
    if (!files_adopt(storage, directory->path, &identity.owner, refusal)) return false;
    if (!write_identity(&identity, refusal)) return false;
    awaited_remove();
    char ledger[IDENTITY_UUID_TEXT_SIZE];
    identity_uuid_text(identity.owner.cluster, ledger);
    ereport(
        LOG,
        errmsg("ledger engine adopted ledger %s in \"%s\"", ledger, directory->path),
        errdetail(
            "It belonged to the PostgreSQL cluster with system identifier " UINT64_FORMAT
            ", and can no longer be opened with the PGDATA that had it. Back up the directory "
            "together with \"%s/" IDENTITY_FILE "\".",
            (uint64) inspection->identity.system_identifier,
            DataDir));
    return true;
}

static bool
adopt_open(
    struct storage_os *storage,
    const struct directory *directory,
    u128 ledger,
    const struct refusal *refused,
    struct refusal *refusal)
{
    struct engine_inspection inspection;
    struct identity identity;
    if (!files_inspect(storage, directory->path, &inspection, refusal)) return false;
    if (inspection.identity.cluster != ledger) {
        return refuse_wrong_ledger(refusal, directory, ledger, inspection.identity.cluster);
    }
    const bool own = identity_read(&identity) == IDENTITY_PRESENT &&
                     !is_of_another_cluster(&identity) &&
                     identity_owner_equal(&identity.owner, &inspection.identity);
    if (own && !refused->adoptable) return refuse_own(refusal, refused);
    return change_owner(storage, directory, &inspection, refusal);
}

bool
ownership_adopt(u128 ledger, const struct refusal *refused, struct refusal *refusal)
{
    struct directory directory = {0};
    if (!directory_find(&directory, refusal)) return false;
    if (!directory.present || !directory_holds_files(&directory)) {
        refusal_message(refusal, "there is no ledger in \"%s\"", directory.path);
        refusal_hint(
            refusal,
            "Move the ledger's directory there, or set ledger.data_directory to where it is and restart the server; then call ledger.adopt() again.");
        refusal->sqlstate = ERRCODE_UNDEFINED_FILE;
        return false;
    }
    struct storage_os *storage = palloc0(sizeof(struct storage_os));
    bool adopted = files_open(storage, directory.path, 0, refusal);
    if (adopted) {
        adopted = adopt_open(storage, &directory, ledger, refused, refusal);
        storage_os_close(storage);
    }
    pfree(storage);
    return adopted;
}
