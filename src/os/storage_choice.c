/* SPDX-License-Identifier: PostgreSQL */
/* See storage_choice.h. */
#include "os/storage_choice.h"

/* Costs are of so many events, in nanoseconds. */
#define COST_EVENTS 1024

/* Ratios are in so many parts. */
#define RATIO_ONE 1024

static_assert(CHOICE_TURN * 100 < CHOICE_REST_MAX, "rarely is the way tried that is clearly worse");
static_assert(CHOICE_TURN * 10 < CHOICE_REST_MIN, "nor often the one that is a little worse");

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

/* Of samples in any order. */
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
    return max_u64(ns * COST_EVENTS / events, 1);
}

static bool
calls_block(const struct storage_choice *choice)
{
    return choice->stats->latency_ns[STORAGE_WAY_CALL] >= CHOICE_CALL_NS_MAX;
}

/* ---- Comparisons ----------------------------------------------------------------------------- */

static void
comparison_end(struct storage_choice *choice, enum storage_way way, uint32_t rest)
{
    choice->stats->way = way;
    choice->rest = rest;
    choice->rest_last = rest;
    choice->others_turn = false;
    choice->turn_taken = 0;
    choice->counted = 0;
}

/* The way that is better by so many parts of the ratio, or the present one. */
static enum storage_way
better_way(enum storage_way present, uint64_t ratio, uint64_t parts)
{
    if (ratio > RATIO_ONE + RATIO_ONE / parts) return STORAGE_WAY_RING;
    if (ratio + ratio / parts < RATIO_ONE) return STORAGE_WAY_CALL;
    return present;
}

/* Both turns have ended, with this ratio. */
static void
compared(struct storage_choice *choice, uint64_t ratio)
{
    const enum storage_way present = choice->stats->way;
    choice->ratios[choice->ratios_count % CHOICE_COMPARISONS] = ratio;
    choice->ratios_count += 1;
    const uint64_t count = min_u64(choice->ratios_count, CHOICE_COMPARISONS);
    if (choice->ratios_count < CHOICE_FIRST) {
        comparison_end(choice, present, 0);
        return;
    }
    const uint64_t middle = median(choice->ratios, (uint32_t) count);
    const enum storage_way way = better_way(present, middle, CHOICE_MARGIN);
    const bool clear = better_way(other_way(way), ratio, CHOICE_CLEAR) == way;
    const bool longer = clear && way == present && choice->rest_last > 0;
    const uint64_t rest = longer ? choice->rest_last * UINT64_C(2) : CHOICE_REST_MIN;
    comparison_end(choice, way, (uint32_t) min_u64(rest, CHOICE_REST_MAX));
}

static void
turn_end(struct storage_choice *choice)
{
    const uint64_t cost = turn_cost(choice);
    const uint64_t present_cost = choice->present_cost;
    choice->turn_taken = 0;
    choice->counted = 0;
    if (choice->newest == STORAGE_WAY_CALL && calls_block(choice)) {
        comparison_end(choice, STORAGE_WAY_RING, CHOICE_REST_MAX);
    } else if (!choice->others_turn) {
        choice->present_cost = cost;
        choice->others_turn = true;
    } else if (choice->newest == STORAGE_WAY_CALL) {
        compared(choice, cost * RATIO_ONE / present_cost);
    } else {
        compared(choice, present_cost * RATIO_ONE / cost);
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
    if (choice->turn_taken == CHOICE_TURN_MAX) {
        comparison_end(choice, stats->way, CHOICE_REST_MAX);
    }
    if (choice->rest > 0) {
        choice->rest -= 1;
        return stats->way;
    }
    choice->turn_taken += 1;
    return choice->others_turn ? other_way(stats->way) : stats->way;
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
