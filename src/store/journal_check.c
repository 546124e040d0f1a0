/* SPDX-License-Identifier: PostgreSQL */
/* See journal_check.h. */
#include "store/journal_check.h"

#include <string.h>

#include "base/units.h"
#include "store/journal_internal.h"

void
journal_check_init(struct journal_check *check, struct journal *journal)
{
    assert(journal != NULL);
    *check = (struct journal_check){.journal = journal};
}

void
journal_check_start(struct journal_check *check)
{
    const struct journal *journal = check->journal;
    assert(!check->reading);
    assert(journal->checkpoint.op <= journal->head.op);
    check->op = journal->checkpoint.op;
    check->parent = journal->checkpoint.checksum;
    check->op_end = journal->head.op;
}

static void
check_on_read(struct storage_request *request)
{
    struct journal_check *check = container_of(request, struct journal_check, read);
    assert(check->reading && check->journal->check_reads);
    assert(!check->read_done);
    check->read_done = true;
    /* Not when it is looked at: whoever asked may have given up. */
    check->journal->check_reads = false;
}

static void
check_read(struct journal_check *check)
{
    struct journal *journal = check->journal;
    assert(!check->reading);
    assert(check->op < check->op_end);
    check->header = *journal_header(journal, check->op + 1);
    check->reading = true;
    check->read_done = false;
    journal->window_size = 0;
    journal->check_reads = true; /* (J5) */
    journal->check_position = check->header.position;
    check->read = (struct storage_request){
        .direction = STORAGE_READ,
        .file = STORAGE_PREPARES,
        .offset_bytes = journal_place(journal, check->header.position),
        .size_bytes = prepare_size_on_disk(&check->header),
        .buffer = journal->buffer,
        .callback = check_on_read,
    };
    storage_submit(journal->storage, &check->read);
}

static enum journal_check_step
check_finish(struct journal_check *check)
{
    struct journal *journal = check->journal;
    const struct prepare_header *header = prepare_header_of(journal->buffer);
    assert(check->reading && check->read_done);
    assert(!journal->check_reads);
    check->reading = false;
    check->op = check->header.op;
    const bool continues = check->header.parent == check->parent; /* (J4) */
    check->parent = check->header.checksum;
    if (check->read.result != STORAGE_OK || !continues) return JOURNAL_CHECK_DAMAGED;
    if (memcmp(header, &check->header, sizeof(*header)) != 0) return JOURNAL_CHECK_DAMAGED;
    return prepare_valid(header, journal->cluster) ? JOURNAL_CHECK_WHOLE : JOURNAL_CHECK_DAMAGED;
}

enum journal_check_step
journal_check_step(struct journal_check *check)
{
    const struct journal *journal = check->journal;
    if (check->reading) return check->read_done ? check_finish(check) : JOURNAL_CHECK_WAIT;
    if (check->op < journal->checkpoint.op) {
        /* What lies before it may be gone. */
        check->op = journal->checkpoint.op;
        check->parent = journal->checkpoint.checksum;
    }
    assert(check->op_end <= journal->head.op);
    if (check->op >= check->op_end) return JOURNAL_CHECK_END;
    check_read(check);
    return JOURNAL_CHECK_STARTED;
}
