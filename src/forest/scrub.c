/* SPDX-License-Identifier: PostgreSQL */
/* See watch.h. */
#include "forest/watch.h"

#include "base/units.h"
#include "forest/internal.h"

void
scrub_init(struct scrub *scrub, struct arena *arena, struct forest *forest)
{
    assert(forest != NULL);
    *scrub = (struct scrub){0};
    tour_init(&scrub->tour, arena, forest);
}

void
scrub_open(struct scrub *scrub)
{
    assert(!scrub->tour.reading);
    assert(scrub->tour.forest != NULL);
    tour_open(&scrub->tour);
    scrub->due = 0;
    scrub->damaged_count = 0;
    scrub->told = 0;
}

void
forest_scrub_allow(struct forest *forest, uint64_t block_count)
{
    struct scrub *scrub = &forest->scrub;
    assert(scrub->due <= SCRUB_DUE_MAX);
    scrub->due += min_u64(block_count, SCRUB_DUE_MAX - scrub->due);
    assert(scrub->due <= SCRUB_DUE_MAX);
}

static void
scrub_note(struct scrub *scrub)
{
    const struct tour_damage *damage = &scrub->tour.damage;
    assert(damage->address != 0);
    assert(scrub->damaged_count <= SCRUB_DAMAGED_MAX);
    assert(scrub->told <= scrub->damaged_count);
    for (uint32_t i = 0; i < scrub->damaged_count; i++) {
        if (scrub->damaged[i].damage.address != damage->address) continue;
        scrub->damaged[i].tour = scrub->tours;
        return;
    }
    if (scrub->damaged_count == SCRUB_DAMAGED_MAX) return;
    scrub->damaged[scrub->damaged_count] =
        (struct scrub_damaged){.damage = *damage, .tour = scrub->tours};
    scrub->damaged_count += 1;
}

/* Forgets the damaged blocks that the tour didn't find again. */
static void
scrub_end_tour(struct scrub *scrub)
{
    uint32_t kept = 0;
    uint32_t told = 0;
    for (uint32_t i = 0; i < scrub->damaged_count; i++) {
        if (scrub->damaged[i].tour < scrub->tours) continue;
        scrub->damaged[kept] = scrub->damaged[i];
        kept += 1;
        told += i < scrub->told;
    }
    assert(kept <= scrub->damaged_count);
    assert(told <= kept);
    scrub->damaged_count = kept;
    scrub->told = told;
    scrub->tours += 1;
}

bool
forest_scrub_work(struct forest *forest)
{
    struct scrub *scrub = &forest->scrub;
    bool progress = false;
    assert(forest->opened);
    while (scrub->due > 0 || scrub->tour.reading) {
        switch (tour_step(&scrub->tour)) {
        case TOUR_WAIT: return progress;
        case TOUR_STARTED:
            assert(scrub->due > 0);
            scrub->due -= 1;
            break;
        case TOUR_DAMAGED:
            scrub->blocks += 1;
            scrub_note(scrub);
            break;
        case TOUR_CHECKED: scrub->blocks += 1; break;
        case TOUR_END:
            scrub_end_tour(scrub);
            assert(scrub->due > 0);
            scrub->due -= 1; /* Counted so that the tours of an empty forest end too. */
            break;
        }
        progress = true;
    }
    return progress;
}

bool
forest_scrub_tell(struct forest *forest, struct tour_damage *damage)
{
    struct scrub *scrub = &forest->scrub;
    assert(scrub->told <= scrub->damaged_count);
    if (scrub->told == scrub->damaged_count) return false;
    *damage = scrub->damaged[scrub->told].damage;
    scrub->told += 1;
    return true;
}

bool
forest_scrub_knows(const struct forest *forest, uint64_t address)
{
    const struct scrub *scrub = &forest->scrub;
    assert(scrub->damaged_count <= SCRUB_DAMAGED_MAX);
    for (uint32_t i = 0; i < scrub->damaged_count; i++) {
        if (scrub->damaged[i].damage.address == address) return true;
    }
    return false;
}

void
forest_scrub_stats_get(const struct forest *forest, struct forest_scrub_stats *stats)
{
    const struct scrub *scrub = &forest->scrub;
    assert(scrub->told <= scrub->damaged_count);
    *stats = (struct forest_scrub_stats){
        .blocks = scrub->blocks,
        .tours = scrub->tours,
        .tour_blocks = scrub->tour.blocks,
        .blocks_total = grid_live_count(forest->grid),
        .damaged = scrub->damaged_count,
    };
}
