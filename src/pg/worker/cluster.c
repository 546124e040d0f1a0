/* SPDX-License-Identifier: PostgreSQL */
#include "postgres.h"
#include "pg/compat.h"

#include "pg/worker/cluster.h"

#include "port.h"

#include "pg/settings.h"
#include "pg/worker/refusal.h"

/* How often at most a host is looked up. */
#define LOOK_UP_NS NS_PER_S
/* When the log is told that there is no primary. */
#define NO_PRIMARY_MS 200
/* And when again: a view that doesn't begin is followed by the next, and the next. */
#define NO_PRIMARY_AGAIN_MS 60000
/* When it is told that this node isn't a member: who was let in has read that it is by then. */
#define OUTSIDE_MS 5000

/* ---- The settings ---------------------------------------------------------------------------- */

static bool
refuse_text(
    struct refusal *refusal,
    const char *setting,
    const char *text,
    const struct network_address_error *error)
{
    refusal_message(refusal, "%s cannot be read: %s", setting, error->reason);
    refusal_detail(refusal, "It is at character %u of \"%s\".", error->position + 1, text);
    refusal_hint(
        refusal,
        "Correct the setting and reload the configuration. Example: a=10.0.0.1:5440, b=[fd00::2]:5440, c=/run/ledger/c.sock");
    return false;
}

static bool
read_nodes(struct network_nodes *nodes, struct refusal *refusal)
{
    struct network_address_error error;
    if (!network_name_valid(settings_node_name)) {
        refusal_message(refusal, "a node cannot have the name \"%.64s\"", settings_node_name);
        refusal_detail(refusal, MONITOR_NAME_DETAIL);
        refusal_hint(refusal, "Correct ledger.node_name and restart the server.");
        return false;
    }
    if (!network_nodes_parse(nodes, settings_nodes, &error)) {
        return refuse_text(refusal, "ledger.nodes", settings_nodes, &error);
    }
    if (network_nodes_find(nodes, settings_node_name) < NETWORK_PEERS_MAX) return true;
    refusal_message(
        refusal,
        nodes->count == 0 ? "ledger.node_name is set, but ledger.nodes is empty"
                          : "ledger.node_name is not one of ledger.nodes");
    refusal_detail(
        refusal,
        "This node is \"%s\", and ledger.nodes is \"%s\".",
        settings_node_name,
        settings_nodes);
    refusal_hint(
        refusal,
        "Set ledger.nodes to the list of all nodes with their addresses, the same line on each of them, and reload the configuration. A new ledger.node_name needs a restart. For a ledger that is alone, leave both empty.");
    return false;
}

/* Sets *address to NULL if the setting is empty. */
static bool
read_listen_address(
    struct network_address *room, const struct network_address **address, struct refusal *refusal)
{
    struct network_address_error error;
    *address = NULL;
    if (settings_listen_address[0] == '\0') return true;
    if (!network_address_parse(room, settings_listen_address, &error)) {
        return refuse_text(refusal, "ledger.listen_address", settings_listen_address, &error);
    }
    *address = room;
    return true;
}

static const char *
secret_file(void)
{
    return settings_secret_file[0] == '\0' ? NULL : settings_secret_file;
}

/* ---- The network ----------------------------------------------------------------------------- */

bool
cluster_open(struct cluster *cluster, struct clock *clock, struct refusal *refusal)
{
    struct network_address room;
    char why[NETWORK_NOTICE_SIZE];
    struct network_os_options options = {
        .clock = clock,
        .name = settings_node_name,
        .nodes = &cluster->nodes,
        .secret_file = secret_file(),
        .timeout_ms = 2 * (uint32) settings_failover_timeout_ms,
    };
    assert(settings_has_node());
    assert(!cluster->open);
    if (!read_nodes(&cluster->nodes, refusal)) return false;
    if (!read_listen_address(&room, &options.listen_address, refusal)) return false;
    options.peer_max = Max(CLUSTER_PEERS_MIN, cluster->nodes.count + 1);
    options.peer_max = Min(options.peer_max, NETWORK_PEERS_MAX);
    if (!pg_strong_random(&options.seed, sizeof(options.seed))) options.seed = 1;
    cluster->open = network_os_open(&cluster->network, &options, why, sizeof(why));
    if (cluster->open) return true;
    refusal_message(refusal, "ledger node \"%s\" cannot use its network", settings_node_name);
    refusal_detail(refusal, "%s.", why);
    refusal->detail[0] = (char) pg_toupper((unsigned char) refusal->detail[0]);
    refusal_hint(
        refusal,
        "Check ledger.nodes, ledger.listen_address and ledger.secret_file. It is tried again by itself, every few seconds.");
    refusal->retries = true;
    return false;
}

void
cluster_close(struct cluster *cluster)
{
    if (cluster->open) network_os_close(&cluster->network);
    cluster->open = false;
}

struct network *
cluster_network(struct cluster *cluster)
{
    return cluster->open ? &cluster->network.network : NULL;
}

long
cluster_sleep_ms(struct cluster *cluster, struct clock *clock, long timeout_ms)
{
    if (!cluster->open) return timeout_ms;
    const uint64 now = clock_monotonic_ns(clock);
    const uint64 deadline = network_os_deadline_ns(&cluster->network);
    const long most_ms = Min(timeout_ms, CLUSTER_SLEEP_MS);
    if (deadline <= now) return 0;
    /* Rounded up: otherwise the last part of a millisecond would be spent looking again. */
    return (long) Min((uint64) most_ms, (deadline - now) / NS_PER_MS + 1);
}

void
cluster_look_up(struct cluster *cluster, uint64 now_ns)
{
    if (!cluster->open || now_ns - cluster->looked_up_ns < LOOK_UP_NS) return;
    cluster->looked_up_ns = now_ns;
    (void) network_os_look_up(&cluster->network);
}

/* ---- Reloading ------------------------------------------------------------------------------- */

static void
reload_secrets(struct cluster *cluster)
{
    char text[NETWORK_NOTICE_SIZE];
    if (!network_os_reload_secrets(&cluster->network, secret_file(), text, sizeof(text))) {
        ereport(
            LOG,
            errmsg("ledger.secret_file was not read again: %s", text),
            errdetail("The secrets of before hold."));
        return;
    }
    if (secret_file() == NULL) return;
    /* Who replaces a secret goes on at the next node when this one has it. */
    network_secrets_text(&cluster->network.secrets, text, sizeof(text));
    ereport(
        LOG,
        errmsg("ledger.secret_file was read again: its secrets are %s", text),
        errdetail("Connections that exist stay. The first secret is used for new ones, and all are accepted."));
}

/* Is it the same list? In which order it is written doesn't matter. */
static bool
same_nodes(const struct network_nodes *a, const struct network_nodes *b)
{
    if (a->count != b->count) return false;
    for (uint32 i = 0; i < a->count; i++) {
        const uint32 found = network_nodes_find(b, a->nodes[i].name);
        if (found == NETWORK_PEERS_MAX) return false;
        if (!network_address_equal(&a->nodes[i].address, &b->nodes[found].address)) return false;
    }
    return true;
}

static void
reload_nodes(struct cluster *cluster)
{
    struct network_nodes nodes;
    struct refusal wrong = {0};
    char why[NETWORK_NOTICE_SIZE];
    if (!read_nodes(&nodes, &wrong)) {
        ereport(
            LOG,
            errmsg("%s", wrong.message),
            errdetail("%s The list of before holds.", wrong.detail),
            errhint("%s", wrong.hint));
        return;
    }
    if (same_nodes(&nodes, &cluster->nodes)) return;
    if (!network_os_reload_nodes(&cluster->network, &nodes, why, sizeof(why))) {
        ereport(
            LOG,
            errmsg("ledger.nodes was not taken over: %s", why),
            errdetail("The list of before holds."));
        return;
    }
    cluster->nodes = nodes;
    cluster->told_unlisted = 0;
    ereport(LOG, errmsg("ledger node \"%s\" goes by the new ledger.nodes", settings_node_name));
}

/* The server was started for a ledger that is alone, and stays that. */
static void
log_unused(struct cluster *cluster)
{
    if (settings_has_node() || settings_nodes[0] == '\0' || cluster->told_unused) return;
    cluster->told_unused = true;
    ereport(
        LOG,
        errmsg("ledger.nodes is not used, as ledger.node_name is empty: this ledger is alone"),
        errhint("To make this server a node, set ledger.node_name too, and restart it."));
}

void
cluster_reload(struct cluster *cluster)
{
    if (!cluster->open) {
        log_unused(cluster);
        return;
    }
    /* The secrets first: a new list may be the first one that needs them. */
    reload_secrets(cluster);
    reload_nodes(cluster);
}

/* ---- The log --------------------------------------------------------------------------------- */

void
cluster_log_refused(struct cluster *cluster)
{
    char text[NETWORK_NOTICE_SIZE];
    if (!cluster->open || !network_os_notice(&cluster->network, text, sizeof(text))) return;
    ereport(LOG, errmsg("ledger network: %s", text));
}

bool
cluster_trouble(const struct cluster *cluster, char *text, size_t size)
{
    return cluster->open && network_os_trouble(&cluster->network, text, size);
}

/*
 * Who was removed connects again and again, and is sent away each time: there is nothing to tell of
 * views that come and go with that. Returns true if this node is a member.
 */
static bool
log_membership(struct cluster *cluster, const struct engine_cluster *now, uint64 now_ns)
{
    if (monitor_is_member(now)) {
        cluster->outside_ns = 0;
        cluster->told_outside = false;
        return true;
    }
    if (cluster->outside_ns == 0) cluster->outside_ns = now_ns;
    if (cluster->told_outside || now_ns - cluster->outside_ns < OUTSIDE_MS * NS_PER_MS) {
        return false;
    }
    cluster->told_outside = true;
    ereport(
        LOG,
        errmsg("ledger node \"%s\" is not a member of its cluster", settings_node_name),
        errdetail(MONITOR_OUTSIDE_DETAIL),
        errhint(MONITOR_OUTSIDE_HINT));
    return false;
}

/* Is it so of this member, and was the log not told yet? */
static bool
is_news(uint32 *told, const struct engine_member *member, bool is_so)
{
    const uint32 slot = (uint32) 1 << member->slot;
    const bool was_told = (*told & slot) != 0;
    *told = is_so ? *told | slot : *told & ~slot;
    return is_so && !was_told;
}

/* Who isn't in the list is neither dialled nor greeted, and has no part in anything here. */
static void
log_unlisted(struct cluster *cluster, const struct engine_member *member)
{
    const bool listed = network_nodes_find(&cluster->nodes, member->name) < NETWORK_PEERS_MAX;
    if (!is_news(&cluster->told_unlisted, member, !listed)) return;
    ereport(
        LOG,
        errmsg(
            "node \"%s\" is a member of the ledger's cluster, but not in ledger.nodes",
            member->name),
        errdetail("This node does not connect to it. It is a member until it is removed."),
        errhint(
            "Add it to ledger.nodes on all nodes and reload the configuration, or call ledger.cluster_remove('%s').",
            member->name));
}

static void
log_lost(struct cluster *cluster, const struct engine_member *member)
{
    const bool lost = member->state == ENGINE_MEMBER_LOST;
    if (!is_news(&cluster->told_lost, member, lost)) return;
    ereport(
        LOG,
        errmsg(
            "node \"%s\" is a member of the ledger's cluster, but its server has no ledger",
            member->name),
        errdetail("A server of that name waits to be let in. The member's directory is not there, or was never made."),
        errhint(
            "If the directory is lost, call ledger.cluster_remove('%s'), then ledger.cluster_add('%s'). If it is somewhere else, bring it back and restart that server.",
            member->name,
            member->name));
}

static void
log_members(struct cluster *cluster, const struct engine_cluster *now)
{
    for (uint32 i = 0; i < now->count; i++) {
        const struct engine_member *member = &now->members[i];
        if (member->state == ENGINE_MEMBER_GUEST || member->name[0] == '\0') continue;
        log_unlisted(cluster, member);
        log_lost(cluster, member);
    }
}

void
cluster_log_view(struct cluster *cluster, const struct engine_cluster *now, uint64 now_ns)
{
    const char *primary = now->primary < 0 ? "" : now->members[now->primary].name;
    if (!now->is_cluster || !log_membership(cluster, now, now_ns)) return;
    log_members(cluster, now);
    /* A ledger that becomes a cluster has a first member without a name, for a moment. */
    if (now->primary >= 0 && primary[0] == '\0') return;
    if (now->primary >= 0 || cluster->primary_seen_ns == 0) cluster->primary_seen_ns = now_ns;
    if (now->view == cluster->told_view && strcmp(primary, cluster->told_primary) == 0) return;
    /* Between two primaries there always is a moment without one. */
    const bool lasts = now_ns - cluster->primary_seen_ns >= NO_PRIMARY_MS * NS_PER_MS;
    const bool again = cluster->told_none_ns == 0 ||
                       now_ns - cluster->told_none_ns >= NO_PRIMARY_AGAIN_MS * NS_PER_MS;
    if (now->primary < 0 && !(lasts && again)) return;
    cluster->told_none_ns = now->primary < 0 ? now_ns : 0;
    cluster->told_view = now->view;
    strlcpy(cluster->told_primary, primary, sizeof(cluster->told_primary));
    if (now->primary < 0) {
        ereport(
            LOG,
            errmsg("ledger cluster has no primary in view %u", now->view),
            errdetail("%u of %u nodes can be reached.", now->reachable, now->voters));
        return;
    }
    ereport(
        LOG,
        errmsg("ledger cluster is in view %u: its primary is node \"%s\"", now->view, primary),
        errdetail(
            "This is node \"%s\"; %u of %u nodes can be reached.",
            settings_node_name,
            now->reachable,
            now->voters));
}
