/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/worker/warnings.h"

/* How often the log repeats a warning about something that stays wrong. */
#define WARN_AGAIN_NS (UINT64_C(3600) * NS_PER_S)

/* Room for the words about a block. */
#define DAMAGE_TEXT_SIZE 96

void
warnings_describe(const struct engine_damage *damage, char *text, size_t size)
{
    snprintf(
        text,
        size,
        "ledger block " UINT64_FORMAT " of tree \"%s\" %s",
        (uint64) damage->block_address,
        damage->tree_name == NULL ? "unknown" : damage->tree_name,
        damage->io_error ? "cannot be read" : "is damaged");
}

/* Logs what the scrubber has found. Returns true if it has found something. */
static bool
log_damage(struct host *host)
{
    struct engine_damage damage;
    bool found = false;
    while (engine_scrub_damage(host->engine, &damage)) {
        char text[DAMAGE_TEXT_SIZE];
        warnings_describe(&damage, text, sizeof(text));
        ereport(
            WARNING,
            errcode(ERRCODE_DATA_CORRUPTED),
            errmsg("%s", text),
            errdetail("The scrubber has found it. Nothing else is affected yet: calls that need the block fail, and others go on."),
            errhint("Check the disk. Restore the ledger's directory from a backup, or see \"Damaged blocks\" in doc/operations.md."));
        found = true;
    }
    return found;
}

/*
 * Logs that expired holds can't be released: once for each block that causes it, and then hourly.
 * Returns true if the warning has changed.
 */
static bool
log_pulse_damage(struct warnings *warnings, struct host *host, uint64 now)
{
    struct engine_damage damage;
    struct refusal *warning = &warnings->pulses;
    const bool damaged = engine_pulse_damage(host->engine, &damage);
    const bool warned = warning->message[0] != '\0';
    if (!damaged) {
        memset(warning, 0, sizeof(*warning));
        warnings->warned_block = 0;
        return warned;
    }
    const bool said = warned && warnings->warned_block == damage.block_address;
    if (said && now - warnings->warned_ns < WARN_AGAIN_NS) return false;
    warnings->warned_block = damage.block_address;
    warnings->warned_ns = now;
    strlcpy(warning->message, "holds that have expired are not released", sizeof(warning->message));
    warnings_describe(&damage, warning->detail, sizeof(warning->detail));
    strlcpy(
        warning->hint,
        "Other transfers and reads go on. Check the disk. Restore the ledger's directory from a backup, or see \"Damaged blocks\" in doc/operations.md.",
        sizeof(warning->hint));
    ereport(
        WARNING,
        errcode(ERRCODE_DATA_CORRUPTED),
        errmsg("%s", warning->message),
        errdetail("%s", warning->detail),
        errhint("%s", warning->hint));
    return true;
}

/* Logs that the grid's file could not be grown, while there still is room for what was promised. */
static void
log_growth_failure(struct warnings *warnings, struct host *host)
{
    char failure[STORAGE_OS_TEXT_SIZE];
    const struct storage_os *storage = &host->storage;
    uint64_t *told = &warnings->growths_told;
    if (engine_failed(host->engine)) return; /* Then this is told as the cause. */
    if (!storage_os_growth_failure(storage, told, failure, sizeof(failure))) return;
    ereport(
        WARNING,
        errcode(ERRCODE_IO_ERROR),
        errmsg("%s", failure),
        errdetail("The file was to grow ahead of need. Everything goes on in the room that there is, and it is tried again."),
        errhint("Check the disk and the kernel's log. If the file can't be grown when the room is used up, the engine stops."));
}

/* Logs, once, that what runs as a member isn't the directory that this node knows. */
static void
log_refused(struct warnings *warnings, struct host *host)
{
    struct engine_cluster cluster;
    uint32 refused = 0;
    if (!host->cluster.open) return;
    engine_cluster_get(host->engine, &cluster);
    for (uint32 i = 0; i < cluster.count; i++) {
        const struct engine_member *member = &cluster.members[i];
        if (member->state != ENGINE_MEMBER_REFUSED) continue;
        refused |= (uint32) 1 << member->slot;
        if ((warnings->refused_told >> member->slot & 1) != 0) continue;
        ereport(
            LOG,
            errmsg("ledger node \"%s\" is refused", member->name),
            errdetail(
                "Its directory is older than what node \"%s\" was at, or a copy of it.",
                member->name),
            errhint(
                "If no other server runs as this node, call ledger.cluster_remove('%s'), empty its directory, and add it anew.",
                member->name));
    }
    warnings->refused_told = refused;
}

bool
warnings_tick(struct warnings *warnings, struct host *host, uint64 now_ns)
{
    bool changed = log_damage(host);
    changed |= log_pulse_damage(warnings, host, now_ns);
    log_growth_failure(warnings, host);
    log_refused(warnings, host);
    return changed;
}
