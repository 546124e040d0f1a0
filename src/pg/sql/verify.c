/* SPDX-License-Identifier: PostgreSQL */
/*
 * ledger.verify(): the engine reads and recomputes everything (ledger/verify.h). Here its findings
 * become words. It may take hours, and can be cancelled.
 */
#include "postgres.h"
#include "pg/compat.h"

#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "pg/client/client.h"
#include "pg/client/convert.h"

PG_FUNCTION_INFO_V1(ledger_verify);

#define VERIFY_COLUMNS 3

/* The digits of the largest number, and the terminating zero. */
#define U128_TEXT_SIZE 40

static const char *
u128_text(u128 value, char *text)
{
    int at = U128_TEXT_SIZE - 1;
    text[at] = '\0';
    do {
        at -= 1;
        assert(at >= 0);
        text[at] = (char) ('0' + (int) (value % 10));
        value /= 10;
    } while (value > 0);
    return text + at;
}

static const char *
finding_kind(const struct verify_finding *finding)
{
    switch ((enum verify_kind) finding->kind) {
    case VERIFY_BLOCK: return "block";
    case VERIFY_TABLE: return "table";
    case VERIFY_FREE_SET: return "free_set";
    case VERIFY_JOURNAL: return "journal";
    case VERIFY_HEADER: return "header";
    case VERIFY_RECORDS: return "records";
    case VERIFY_IDS: return "ids";
    case VERIFY_LIST: return "list";
    case VERIFY_INDEX: return "index";
    case VERIFY_EVENT: return "event";
    case VERIFY_TRANSFER: return "transfer";
    case VERIFY_ACCOUNT: return "account";
    case VERIFY_LEDGER: return "ledger";
    case VERIFY_UNFINISHED: return "unfinished";
    case VERIFY_MORE: return "more";
    }
    return "unknown";
}

static void
append_id(StringInfo text, u128 id)
{
    pg_uuid_t *uuid = palloc(sizeof(pg_uuid_t));
    convert_u128_to_uuid(id, uuid);
    const Datum out = DirectFunctionCall1(uuid_out, UUIDPGetDatum(uuid));
    appendStringInfoString(text, DatumGetCString(out));
}

static void
append_object(StringInfo text, const struct verify_finding *finding)
{
    const uint64 number = finding->number;
    const char *tree = finding->tree_name;
    switch ((enum verify_kind) finding->kind) {
    case VERIFY_BLOCK:
    case VERIFY_UNFINISHED:
        appendStringInfo(text, "block " UINT64_FORMAT " of tree \"%s\"", number, tree);
        return;
    case VERIFY_TABLE:
        appendStringInfo(text, "table at block " UINT64_FORMAT " of tree \"%s\"", number, tree);
        return;
    case VERIFY_FREE_SET: appendStringInfoString(text, "free set"); return;
    case VERIFY_JOURNAL: appendStringInfo(text, "op " UINT64_FORMAT, number); return;
    case VERIFY_HEADER:
        appendStringInfo(text, "entry of op " UINT64_FORMAT " in headers.wal", number);
        return;
    case VERIFY_RECORDS: appendStringInfo(text, "records of tree \"%s\"", tree); return;
    case VERIFY_IDS: appendStringInfo(text, "ids of tree \"%s\"", tree); return;
    case VERIFY_LIST: appendStringInfo(text, "list of tree \"%s\"", tree); return;
    case VERIFY_INDEX: appendStringInfo(text, "index \"%s\"", tree); return;
    case VERIFY_EVENT: appendStringInfo(text, "event " UINT64_FORMAT, number); return;
    case VERIFY_TRANSFER:
        if (finding->what == VERIFY_COUNT) {
            appendStringInfoString(text, "all transfers");
        } else {
            appendStringInfo(text, "transfer " UINT64_FORMAT, number);
        }
        return;
    case VERIFY_ACCOUNT:
        if (finding->what == VERIFY_COUNT) {
            appendStringInfoString(text, "all accounts");
        } else if (finding->what == VERIFY_MISSING) {
            appendStringInfo(text, "account of timestamp " UINT64_FORMAT, number);
        } else {
            append_id(text, finding->id);
        }
        return;
    case VERIFY_LEDGER: appendStringInfo(text, "ledger " UINT64_FORMAT, number); return;
    case VERIFY_MORE: appendStringInfo(text, UINT64_FORMAT " findings", number); return;
    }
}

/* The name of the balance that differs. */
static const char *
balance_name(const struct verify_finding *finding)
{
    switch ((enum verify_what) finding->what) {
    case VERIFY_DEBITS_PENDING: return "debits_pending";
    case VERIFY_DEBITS_POSTED: return "debits_posted";
    case VERIFY_CREDITS_PENDING: return "credits_pending";
    case VERIFY_CREDITS_POSTED: return "credits_posted";
    case VERIFY_NOTHING:
    case VERIFY_UNREADABLE:
    case VERIFY_CORRUPT:
    case VERIFY_WRONG:
    case VERIFY_MISSING:
    case VERIFY_MISFILED:
    case VERIFY_TYPE:
    case VERIFY_STATUS:
    case VERIFY_FLAGS:
    case VERIFY_COUNT: break;
    }
    return NULL;
}

static const char *
phrase(const struct verify_finding *finding)
{
    const bool event = finding->kind == VERIFY_EVENT;
    if (finding->kind >= VERIFY_IDS && finding->kind <= VERIFY_INDEX) {
        return "it has as many entries as it should, but they are not those of the records";
    }
    if (finding->kind == VERIFY_ACCOUNT && finding->what == VERIFY_MISSING) {
        return "it is listed, but not there";
    }
    switch ((enum verify_what) finding->what) {
    case VERIFY_UNREADABLE: return "it cannot be read";
    case VERIFY_CORRUPT: return "it is damaged: not what was written";
    case VERIFY_MISSING:
        return event ? "it names an account that does not exist"
                     : "there is an event of it, or a transfer that resolves it, but not itself";
    case VERIFY_MISFILED: return "its accounts or ledger are not those of its event";
    case VERIFY_TYPE: return "it tells of another kind of transfer than there is";
    case VERIFY_STATUS:
        return "the state of the pending transfer is missing, or does not say what became of it";
    case VERIFY_WRONG:
        return finding->kind == VERIFY_ACCOUNT
                   ? "its balances are not the sum of its transfers"
                   : "it is whole, but its content is not what refers to it";
    case VERIFY_NOTHING:
    case VERIFY_DEBITS_PENDING:
    case VERIFY_DEBITS_POSTED:
    case VERIFY_CREDITS_PENDING:
    case VERIFY_CREDITS_POSTED:
    case VERIFY_FLAGS:
    case VERIFY_COUNT: break;
    }
    return "it is not as it should be";
}

static void
append_detail(StringInfo text, const struct verify_finding *finding)
{
    char buffers[2][U128_TEXT_SIZE];
    const char *expected = u128_text(finding->expected, buffers[0]);
    const char *found = u128_text(finding->found, buffers[1]);
    const char *balance = balance_name(finding);
    if (finding->kind == VERIFY_FREE_SET) {
        appendStringInfo(text, "%s blocks are taken, %s are in use", found, expected);
    } else if (finding->kind == VERIFY_TABLE) {
        appendStringInfoString(
            text, "its keys are not above those before it, or its block is free");
    } else if (finding->kind == VERIFY_LEDGER) {
        appendStringInfo(
            text,
            "%s debits are %s, credits are %s",
            finding->what == VERIFY_DEBITS_PENDING ? "pending" : "posted",
            expected,
            found);
    } else if (finding->kind == VERIFY_UNFINISHED) {
        appendStringInfoString(
            text, "not all was compared and recomputed, because this block is damaged");
    } else if (finding->kind == VERIFY_MORE) {
        appendStringInfoString(text, "are not listed");
    } else if (finding->what == VERIFY_COUNT) {
        appendStringInfo(text, "there are %s, and should be %s", found, expected);
    } else if (finding->what == VERIFY_FLAGS) {
        appendStringInfo(text, "flags are %s, transfers make them %s", found, expected);
    } else if (balance != NULL) {
        if (finding->kind == VERIFY_EVENT) {
            appendStringInfoString(text, "of account ");
            append_id(text, finding->id);
            appendStringInfoString(text, ": ");
        }
        appendStringInfo(text, "%s is %s, transfers make it %s", balance, found, expected);
    } else {
        appendStringInfoString(text, phrase(finding));
    }
}

static void
put_finding(ReturnSetInfo *set, const struct verify_finding *finding)
{
    StringInfoData object;
    StringInfoData detail;
    initStringInfo(&object);
    initStringInfo(&detail);
    append_object(&object, finding);
    append_detail(&detail, finding);
    Datum values[VERIFY_COLUMNS] = {
        CStringGetTextDatum(finding_kind(finding)),
        CStringGetTextDatum(object.data),
        CStringGetTextDatum(detail.data),
    };
    bool nulls[VERIFY_COLUMNS] = {false, false, false};
    tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
}

Datum
ledger_verify(PG_FUNCTION_ARGS)
{
    struct client_call call;
    InitMaterializedSRF(fcinfo, 0);
    ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
    client_begin(&call, LEDGER_VERIFY, 0, VERIFY_FINDINGS_MAX + 1);
    call.input_size = 0;
    client_run(&call);
    assert(call.reply_size % sizeof(struct verify_finding) == 0);
    for (uint32_t at = 0; at < call.reply_size; at += sizeof(struct verify_finding)) {
        struct verify_finding finding;
        memcpy(&finding, (const char *) call.reply + at, sizeof(finding));
        finding.tree_name[sizeof(finding.tree_name) - 1] = '\0';
        put_finding(set, &finding);
    }
    client_end(&call);
    return (Datum) 0;
}
