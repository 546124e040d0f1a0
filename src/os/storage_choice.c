/* SPDX-License-Identifier: PostgreSQL */
/* See storage_choice.h. */
#include "os/storage_choice.h"

/* Costs are of so many events, in nanoseconds. */
#define COST_EVENTS 1024

static_assert(CHOICE_TURNS % 4 == 3, "the middle turn, which each way's median is of, is the same");
static_assert(
    CHOICE_TURNS / 2 * CHOICE_TURN * 80 < CHOICE_PERIOD,
    "less than one write in eighty goes the way that isn't the better one");

static enum storage_way
other_way(enum storage_way way)
{
    return way == STORAGE_WAY_RING ? STORAGE_WAY_CALL : STORAGE_WAY_RING;
}

void
storage_choice_init(
    struct storage_choice *choice,
    struct storage_solo_stats *stats,
    enum storage_way way,
    bool fixed)
{
    *stats = (struct storage_solo_stats){.way = way};
    *choice = (struct storage_choice){.stats = stats, .fixed = fixed, .newest = way};
}

bool
storage_choice_takes(const struct storage *storage, const struct storage_request *request)
{
    uint32_t parts = 0;
    if (!request->solo) return false;
    for (const struct storage_request *part = request; part != NULL; part = part->then) {
        if (part->size_bytes > CHOICE_SIZE_MAX) return false;
        parts += 1;
    }
    return storage->in_flight_count == parts;
}

/* ---- Turns ----------------------------------------------------------------------------------- */

/* The cost of the turn that has just ended. Intervals become sorted. */
static uint64_t
turn_cost(struct storage_choice *choice)
{
    struct choice_interval *intervals = choice->intervals;
    uint64_t ns = 0;
    uint64_t events = 0;
    assert(choice->counted == CHOICE_COUNTED);
    for (uint32_t i = 1; i < CHOICE_COUNTED; i++) {
        const struct choice_interval interval = intervals[i];
        uint32_t at = i;
        for (; at > 0 && intervals[at - 1].ns > interval.ns; at--) {
            intervals[at] = intervals[at - 1];
        }
        intervals[at] = interval;
    }
    for (uint32_t i = 0; i < CHOICE_COUNTED - CHOICE_LONGEST; i++) {
        ns += intervals[i].ns;
        events += intervals[i].events;
    }
    assert(events > 0);
    return ns * COST_EVENTS / events;
}

/* The median of the turns with even numbers, or of those with odd ones. */
static uint64_t
way_cost(const struct storage_choice *choice, uint32_t first)
{
    uint64_t sorted[CHOICE_TURNS] = {0};
    uint32_t count = 0;
    for (uint32_t turn = first; turn < CHOICE_TURNS; turn += 2) {
        uint32_t at = count;
        for (; at > 0 && sorted[at - 1] > choice->costs[turn]; at--) sorted[at] = sorted[at - 1];
        sorted[at] = choice->costs[turn];
        count += 1;
    }
    return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
}

static bool
calls_block(const struct storage_choice *choice)
{
    return choice->stats->latency_ns[STORAGE_WAY_CALL] >= CHOICE_CALL_NS_MAX;
}

static void
comparison_end(struct storage_choice *choice, enum storage_way way)
{
    choice->stats->way = way;
    choice->rest = CHOICE_PERIOD;
    choice->turn = 0;
    choice->turn_taken = 0;
    choice->counted = 0;
}

static void
turn_end(struct storage_choice *choice)
{
    const enum storage_way present = choice->stats->way;
    assert(choice->turn < CHOICE_TURNS);
    choice->costs[choice->turn] = turn_cost(choice);
    choice->turn += 1;
    choice->turn_taken = 0;
    choice->counted = 0;
    if (choice->newest == STORAGE_WAY_CALL && calls_block(choice)) {
        comparison_end(choice, STORAGE_WAY_RING);
    } else if (choice->turn == CHOICE_TURNS) {
        const uint64_t present_cost = way_cost(choice, 0);
        const uint64_t other_cost = way_cost(choice, 1);
        const bool better = other_cost + other_cost / CHOICE_MARGIN < present_cost;
        comparison_end(choice, better ? other_way(present) : present);
    }
}

/* The interval behind the newest write has ended. */
static void
interval_end(struct storage_choice *choice, uint64_t now_ns)
{
    const bool counts = choice->newest_ns != 0 && choice->turn_taken > CHOICE_SETTLING;
    if (!counts || choice->newest_events == 0) return;
    assert(choice->counted < CHOICE_COUNTED);
    choice->intervals[choice->counted] = (struct choice_interval){
        .ns = now_ns - choice->newest_ns,
        .events = choice->newest_events,
    };
    choice->counted += 1;
    if (choice->counted == CHOICE_COUNTED) turn_end(choice);
}

static enum storage_way
next_way(struct storage_choice *choice, uint64_t now_ns)
{
    struct storage_solo_stats *stats = choice->stats;
    if (choice->fixed) return stats->way;
    if (choice->rest == 0) interval_end(choice, now_ns);
    if (choice->turn_taken == CHOICE_TURN_MAX) comparison_end(choice, stats->way);
    if (choice->rest > 0) {
        choice->rest -= 1;
        return stats->way;
    }
    choice->turn_taken += 1;
    return choice->turn % 2 == 0 ? stats->way : other_way(stats->way);
}

enum storage_way
storage_choice_next(struct storage_choice *choice, uint64_t now_ns, uint32_t events)
{
    choice->newest = next_way(choice, now_ns);
    choice->newest_ns = now_ns;
    choice->newest_events = events;
    return choice->newest;
}

void
storage_choice_interrupt(struct storage_choice *choice)
{
    choice->newest_ns = 0;
}

/* ---- Latencies ------------------------------------------------------------------------------- */

static uint64_t
median(const uint64_t *samples, uint32_t count)
{
    uint64_t sorted[CHOICE_LATENCIES] = {0};
    assert(count > 0 && count <= CHOICE_LATENCIES);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = i;
        while (at > 0 && sorted[at - 1] > samples[i]) {
            sorted[at] = sorted[at - 1];
            at -= 1;
        }
        sorted[at] = samples[i];
    }
    return sorted[count / 2];
}

void
storage_choice_measured(struct storage_choice *choice, uint64_t latency_ns)
{
    struct storage_solo_stats *stats = choice->stats;
    const enum storage_way way = choice->newest;
    uint64_t *latencies_ns = choice->latencies_ns[way];
    stats->writes[way] += 1;
    latencies_ns[choice->latencies_count[way] % CHOICE_LATENCIES] = latency_ns;
    choice->latencies_count[way] += 1;
    const uint64_t count = min_u64(choice->latencies_count[way], CHOICE_LATENCIES);
    stats->latency_ns[way] = median(latencies_ns, (uint32_t) count);
    if (choice->fixed || choice->rest == 0 || stats->way == STORAGE_WAY_RING) return;
    if (count == CHOICE_LATENCIES && calls_block(choice)) stats->way = STORAGE_WAY_RING;
}
