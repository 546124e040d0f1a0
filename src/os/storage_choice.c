/* SPDX-License-Identifier: PostgreSQL */
/* See storage_choice.h. */
#include "os/storage_choice.h"

static_assert(CHOICE_TRIAL > CHOICE_SAMPLES / 2 + 1, "a trial alone decides what the median is");
static_assert(CHOICE_TRIAL * 100 < CHOICE_PERIOD, "a trial is less than one write in a hundred");

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

/* Both ways are known. */
static bool
is_known(const struct storage_choice *choice)
{
    return choice->samples_count[STORAGE_WAY_RING] >= CHOICE_SAMPLES &&
           choice->samples_count[STORAGE_WAY_CALL] >= CHOICE_SAMPLES;
}

static enum storage_way
next_way(struct storage_choice *choice)
{
    const enum storage_way way = choice->stats->way;
    if (choice->fixed) return way;
    const uint32_t taken = choice->taken;
    choice->taken = (taken + 1) % CHOICE_PERIOD;
    if (!is_known(choice)) return taken / CHOICE_TRIAL % 2 == 0 ? way : other_way(way);
    return taken < CHOICE_PERIOD - CHOICE_TRIAL ? way : other_way(way);
}

enum storage_way
storage_choice_next(struct storage_choice *choice)
{
    const enum storage_way way = next_way(choice);
    choice->newest_begins = way != choice->newest;
    choice->newest = way;
    return way;
}

static uint64_t
median(const uint64_t *samples, uint32_t count)
{
    uint64_t sorted[CHOICE_SAMPLES] = {0};
    assert(count > 0 && count <= CHOICE_SAMPLES);
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

/* Is it so much faster that it is worth a change? */
static bool
is_better(const struct storage_choice *choice, enum storage_way way)
{
    const uint64_t *latency_ns = choice->stats->latency_ns;
    const uint64_t mine_ns = latency_ns[way];
    if (way == STORAGE_WAY_CALL && mine_ns >= CHOICE_CALL_NS_MAX) return false;
    const uint64_t others_ns = latency_ns[other_way(way)];
    if (way == STORAGE_WAY_RING && others_ns >= CHOICE_CALL_NS_MAX) return true;
    return mine_ns + mine_ns / CHOICE_MARGIN < others_ns;
}

void
storage_choice_measured(struct storage_choice *choice, uint64_t latency_ns)
{
    struct storage_solo_stats *stats = choice->stats;
    const enum storage_way way = choice->newest;
    stats->writes[way] += 1;
    if (choice->newest_begins) return;
    uint64_t *samples_ns = choice->samples_ns[way];
    samples_ns[choice->samples_count[way] % CHOICE_SAMPLES] = latency_ns;
    choice->samples_count[way] += 1;
    stats->latency_ns[way] =
        median(samples_ns, (uint32_t) min_u64(choice->samples_count[way], CHOICE_SAMPLES));
    const enum storage_way other = other_way(stats->way);
    if (choice->fixed || !is_known(choice) || !is_better(choice, other)) return;
    stats->way = other;
    choice->taken = 0;
}
