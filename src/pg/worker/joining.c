/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/worker/joining.h"

#include <sys/mman.h>

#include "port.h"

#include "pg/settings.h"
#include "pg/worker/files.h"
#include "pg/worker/refusal.h"

bool
joining_begin(struct joining *joining, struct cluster *cluster, struct refusal *refusal)
{
    struct engine_guest_options options = {
        .network = cluster_network(cluster),
        .prepares_size_bytes = (uint64) settings_wal_size_mb * MIB,
    };
    assert(joining->guest == NULL);
    if (!pg_strong_random(&options.incarnation, sizeof(options.incarnation)) ||
        !pg_strong_random(&options.session, sizeof(options.session)) ||
        options.incarnation == 0 || options.session == 0) {
        refusal_message(refusal, "the system gave no random numbers for the ledger's identity");
        refusal_hint(refusal, "Try again.");
        return false;
    }
    joining->memory = files_take_memory(ENGINE_GUEST_MEMORY);
    if (joining->memory == NULL) {
        refusal_message(refusal, "could not get memory: %s", strerror(errno));
        refusal_hint(refusal, "Give the system more memory, then reload the configuration.");
        return false;
    }
    options.memory = joining->memory;
    joining->guest = engine_guest_create(&options);
    return true;
}

bool
joining_poll(struct joining *joining, struct engine_welcome *welcome)
{
    return joining->guest != NULL && engine_guest_poll(joining->guest, welcome);
}

bool
joining_news(struct joining *joining, const struct cluster *cluster, struct refusal *refusal)
{
    char trouble[NETWORK_NOTICE_SIZE] = "";
    if (joining->guest == NULL) return false;
    (void) cluster_trouble(cluster, trouble, sizeof(trouble));
    if (strcmp(trouble, joining->trouble) == 0) return false;
    strlcpy(joining->trouble, trouble, sizeof(joining->trouble));
    refusal_of_guest(refusal, trouble);
    return true;
}

bool
joining_alone(const struct joining *joining, struct refusal *refusal)
{
    const char *member = joining->guest == NULL ? NULL : engine_guest_member(joining->guest);
    if (member == NULL) return true;
    refusal->sqlstate = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    refusal_message(refusal, "node \"%s\" of ledger.nodes has a ledger already", member);
    refusal_detail(
        refusal,
        "This server is node \"%s\". A ledger that is made here would be another one, of its own.",
        settings_node_name);
    refusal_hint(
        refusal,
        "Call ledger.cluster_add('%s') at a member of that ledger. For a ledger of its own, first take the other nodes out of ledger.nodes here, and reload the configuration.",
        settings_node_name);
    return false;
}

void
joining_end(struct joining *joining, struct cluster *cluster)
{
    cluster_close(cluster);
    if (joining->memory != NULL) (void) munmap(joining->memory, ENGINE_GUEST_MEMORY);
    *joining = (struct joining){0};
}
