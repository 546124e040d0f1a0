/* SPDX-License-Identifier: PostgreSQL */
/*
 * What the kernel says of the two entries of an ordered pair, in any order and of any kind: also
 * what it can't be brought to say, as that it had no memory to prepare the second.
 */
#include "os/storage_uring.c" /* Its completions are made here. */

#include "unit/unit.h"

static struct storage_uring uring;
static struct storage_files files;
static struct storage_request first;
static struct storage_request second;
static uint8_t buffer[SECTOR_SIZE] __attribute__((aligned(SECTOR_SIZE)));
static uint32_t done[2];
static uint32_t done_count;

static void
on_done(struct storage_request *request)
{
    done[done_count] = request == &second ? 2 : 1;
    done_count += 1;
}

/* A pair in the hands of the kernel. */
static uint64_t
begin(void)
{
    memset(&uring, 0, sizeof(uring));
    memset(&files, 0, sizeof(files));
    uring.files = &files;
    queue_init(&uring.waiting, "waiting", 8);
    first = (struct storage_request){
        .direction = STORAGE_WRITE,
        .file = STORAGE_GRID,
        .size_bytes = SECTOR_SIZE,
        .buffer = buffer,
        .callback = on_done,
        .in_flight = true,
        .then = &second,
    };
    second = first;
    second.then = NULL;
    done_count = 0;
    uring.storage.in_flight_count = 2;
    uring.entry_count = 2;
    struct pair *pair = pair_take(&uring, &first);
    return (uint64_t) (uintptr_t) pair;
}

static void
expect_both_failed(void)
{
    expect_equal(done_count, 2);
    expect_equal(done[0], 1);
    expect_equal(done[1], 2);
    expect_equal(first.result, STORAGE_IO_ERROR);
    expect_equal(second.result, STORAGE_IO_ERROR);
    expect_equal(uring.storage.in_flight_count, 0);
    expect_equal(uring.entry_count, 0);
    expect_equal(uring.pairs[0].state, PAIR_FREE);
    expect(queue_empty(&uring.waiting));
    expect(files.failure.happened);
}

static const int not_prepared[] = {-ECANCELED, -ENOMEM, -EAGAIN, -EINVAL};
#define NOT_PREPARED_COUNT (sizeof(not_prepared) / sizeof(not_prepared[0]))

/* The kernel cancels the first when it can't prepare the second: nothing of either is written. */
UNIT_TEST(u3_a_second_that_is_not_prepared_fails_the_pair)
{
    for (uint32_t i = 0; i < NOT_PREPARED_COUNT; i++) {
        uint64_t pair = begin();
        (void) entry_complete(&uring, pair | ENTRY_SECOND, not_prepared[i]);
        expect_equal(done_count, 0);
        (void) entry_complete(&uring, pair | ENTRY_FIRST, -ECANCELED);
        expect_both_failed();

        pair = begin();
        (void) entry_complete(&uring, pair | ENTRY_FIRST, -ECANCELED);
        (void) entry_complete(&uring, pair | ENTRY_SECOND, not_prepared[i]);
        expect_both_failed();
    }
}

/* The first is durable all the same: the second is submitted again, alone. */
UNIT_TEST(u3_a_second_that_is_not_prepared_comes_later)
{
    for (uint32_t i = 0; i < NOT_PREPARED_COUNT; i++) {
        const uint64_t pair = begin();
        (void) entry_complete(&uring, pair | ENTRY_SECOND, not_prepared[i]);
        (void) entry_complete(&uring, pair | ENTRY_FIRST, SECTOR_SIZE);
        expect_equal(done_count, 1);
        expect_equal(first.result, STORAGE_OK);
        expect(queue_peek(&uring.waiting) == &second.link);
        expect_equal(uring.storage.in_flight_count, 1);
        expect(!files.failure.happened);
    }
}

/* What is to be tried again is, by both methods: the rest of the pair waits for it. */
UNIT_TEST(u3_a_first_that_is_put_off_is_submitted_again)
{
    static const int put_off[] = {-EAGAIN, -EINTR};
    for (uint32_t i = 0; i < 2; i++) {
        const uint64_t pair = begin();
        (void) entry_complete(&uring, pair | ENTRY_FIRST, put_off[i]);
        (void) entry_complete(&uring, pair | ENTRY_SECOND, -ECANCELED);
        expect_equal(done_count, 0);
        expect(queue_peek(&uring.waiting) == &first.link);
        expect(first.then == &second);
        expect_equal(uring.pairs[0].state, PAIR_FREE);
    }
}

static const int seconds_of_short[] = {-ECANCELED, SECTOR_SIZE};
#define SECONDS_OF_SHORT_COUNT (sizeof(seconds_of_short) / sizeof(seconds_of_short[0]))

/* A pair whose first ends short after a sector. */
static uint64_t
begin_short(void)
{
    const uint64_t pair = begin();
    first.size_bytes = 2 * (uint64_t) SECTOR_SIZE;
    (void) entry_complete(&uring, pair | ENTRY_FIRST, SECTOR_SIZE);
    expect_equal(uring.pairs[0].state, PAIR_SHORT);
    expect(uring.short_seen);
    return pair;
}

/*
 * A first ends short. Nothing goes on before the second's entry is back, for the kernel may be
 * writing it; then the first does, whatever has become of the second, which is written behind it.
 */
UNIT_TEST(u3_a_short_first_waits_for_its_second)
{
    for (uint32_t i = 0; i < SECONDS_OF_SHORT_COUNT; i++) {
        uint64_t pair = begin_short();
        expect(queue_empty(&uring.waiting));
        expect_equal(done_count, 0);
        (void) entry_complete(&uring, pair | ENTRY_SECOND, seconds_of_short[i]);
        expect_equal(done_count, 0);
        expect(queue_peek(&uring.waiting) == &first.link);
        expect(first.then == &second);
        expect_equal(second.done_bytes, 0);
        expect_equal(uring.pairs[0].state, PAIR_FREE);
        expect(!pair_may_link(&uring, &first));

        /* The rest is submitted alone. */
        (void) queue_pop(&uring.waiting);
        pair = (uint64_t) (uintptr_t) pair_take(&uring, &first);
        uring.pairs[0].state = PAIR_SPLIT;
        uring.entry_count = 1;
        (void) entry_complete(&uring, pair | ENTRY_FIRST, SECTOR_SIZE);
        expect_equal(done_count, 1);
        expect_equal(first.result, STORAGE_OK);
        expect(queue_peek(&uring.waiting) == &second.link);
    }
}

/* A first that fails: both are answered when the kernel has done with both buffers, not before. */
UNIT_TEST(u3_a_failed_first_waits_for_its_second)
{
    for (uint32_t i = 0; i < SECONDS_OF_SHORT_COUNT; i++) {
        const uint64_t pair = begin();
        (void) entry_complete(&uring, pair | ENTRY_FIRST, -EFBIG);
        expect_equal(done_count, 0);
        (void) entry_complete(&uring, pair | ENTRY_SECOND, seconds_of_short[i]);
        expect_both_failed();
    }
}

/* Which firsts may be cut by a limit is known before they are submitted. */
UNIT_TEST(u3_a_first_across_the_limit_is_not_linked)
{
    (void) begin();
    uring.limit_bytes = UINT64_MAX;
    expect(pair_may_link(&uring, &first));
    first.offset_bytes = 4 * (uint64_t) SECTOR_SIZE;
    uring.limit_bytes = 5 * (uint64_t) SECTOR_SIZE;
    expect(pair_may_link(&uring, &first));
    uring.limit_bytes -= 1;
    expect(!pair_may_link(&uring, &first));
    uring.limit_bytes = UINT64_MAX;
    uring.short_seen = true;
    expect(!pair_may_link(&uring, &first));
}

UNIT_MAIN(test_storage_pairs)
