/* SPDX-License-Identifier: PostgreSQL */
/* The labels of the extension's enums: which oid each label has in this database. */
#include "postgres.h"
#include "pg/compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/units.h"
#include "pg/client/convert.h"

#define NAME_OF_FLAG(name, bit) [__builtin_ctz(bit)] = #name,
#define NAME_OF_CODE(name, code) [code] = #name,

static const char *const account_flag_names[] = {ACCOUNT_FLAG_LIST(NAME_OF_FLAG)};
static const char *const transfer_flag_names[] = {TRANSFER_FLAG_LIST(NAME_OF_FLAG)};
static const char *const account_status_names[] = {
    [CONVERT_CREATED] = "created",
    CREATE_ACCOUNT_STATUS_LIST(NAME_OF_CODE)};
static const char *const transfer_status_names[] = {
    [CONVERT_CREATED] = "created",
    CREATE_TRANSFER_STATUS_LIST(NAME_OF_CODE)};
static const char *const change_event_type_names[] = {
    [CHANGE_SINGLE_PHASE] = "single_phase",
    [CHANGE_TWO_PHASE_PENDING] = "two_phase_pending",
    [CHANGE_TWO_PHASE_POSTED] = "two_phase_posted",
    [CHANGE_TWO_PHASE_VOIDED] = "two_phase_voided",
    [CHANGE_TWO_PHASE_EXPIRED] = "two_phase_expired",
};

static const char *const hold_state_names[] = {
    [PENDING_PENDING] = "open",
    [PENDING_POSTED] = "posted",
    [PENDING_VOIDED] = "voided",
    [PENDING_EXPIRED] = "expired",
};

static_assert(ARRAY_COUNT(account_status_names) <= CONVERT_ENUM_VALUES_MAX, "labels fit");
static_assert(ARRAY_COUNT(transfer_status_names) <= CONVERT_ENUM_VALUES_MAX, "labels fit");

#define ENUM_OF(type_name, names) {type_name, names, ARRAY_COUNT(names)}

static const struct {
    const char *type_name;
    const char *const *names;
    uint32_t count;
} enums[CONVERT_ENUM_COUNT] = {
    [CONVERT_ACCOUNT_FLAG] = ENUM_OF("account_flag", account_flag_names),
    [CONVERT_TRANSFER_FLAG] = ENUM_OF("transfer_flag", transfer_flag_names),
    [CONVERT_ACCOUNT_STATUS] = ENUM_OF("create_account_status", account_status_names),
    [CONVERT_TRANSFER_STATUS] = ENUM_OF("create_transfer_status", transfer_status_names),
    [CONVERT_CHANGE_EVENT_TYPE] = ENUM_OF("change_event_type", change_event_type_names),
    [CONVERT_HOLD_STATE] = ENUM_OF("hold_state", hold_state_names),
};

static Oid
enum_label_oid(Oid type, const char *type_name, const char *label)
{
    HeapTuple tuple =
        SearchSysCache2(ENUMTYPOIDNAME, ObjectIdGetDatum(type), CStringGetDatum(label));
    if (!HeapTupleIsValid(tuple)) {
        ereport(
            ERROR,
            errcode(ERRCODE_UNDEFINED_OBJECT),
            errmsg("type ledger.%s has no label \"%s\"", type_name, label),
            errhint("Run ALTER EXTENSION ledger UPDATE."));
    }
    Oid oid = ((Form_pg_enum) GETSTRUCT(tuple))->oid;
    ReleaseSysCache(tuple);
    return oid;
}

static struct convert_labels labels_cache[CONVERT_ENUM_COUNT];
static bool labels_verified[CONVERT_ENUM_COUNT];

static void
labels_on_type_change(Datum argument, int cache_id, uint32 hash_value)
{
    memset(labels_verified, false, sizeof(labels_verified));
}

/*
 * The extension's schema, or InvalidOid if there is none. It is found as a member of the extension,
 * because its owner may have changed its name.
 */
static Oid
extension_schema(void)
{
    const Oid extension = get_extension_oid("ledger", true);
    if (!OidIsValid(extension)) return InvalidOid;
    ScanKeyData keys[2];
    ScanKeyInit(
        &keys[0],
        Anum_pg_depend_refclassid,
        BTEqualStrategyNumber,
        F_OIDEQ,
        ObjectIdGetDatum(ExtensionRelationId));
    ScanKeyInit(
        &keys[1],
        Anum_pg_depend_refobjid,
        BTEqualStrategyNumber,
        F_OIDEQ,
        ObjectIdGetDatum(extension));

    Oid schema = InvalidOid;
    Relation depend = table_open(DependRelationId, AccessShareLock);
    SysScanDesc scan = systable_beginscan(depend, DependReferenceIndexId, true, NULL, 2, keys);
    HeapTuple tuple;
    while (!OidIsValid(schema) && HeapTupleIsValid(tuple = systable_getnext(scan))) {
        const FormData_pg_depend *member = (const FormData_pg_depend *) GETSTRUCT(tuple);
        if (member->deptype != DEPENDENCY_EXTENSION) continue;
        if (member->classid == NamespaceRelationId) schema = member->objid;
    }
    systable_endscan(scan);
    table_close(depend, AccessShareLock);
    return schema;
}

static Oid
enum_type_oid(const char *type_name)
{
    const Oid schema = extension_schema();
    Oid type = InvalidOid;
    if (OidIsValid(schema)) {
        type = GetSysCacheOid2(
            TYPENAMENSP,
            Anum_pg_type_oid,
            CStringGetDatum(type_name),
            ObjectIdGetDatum(schema));
    }
    if (!OidIsValid(type)) {
        ereport(
            ERROR,
            errcode(ERRCODE_UNDEFINED_OBJECT),
            errmsg("type \"%s\" of extension ledger does not exist", type_name),
            errhint("Run CREATE EXTENSION ledger in this database."));
    }
    return type;
}

const struct convert_labels *
convert_labels(enum convert_enum which)
{
    assert(which < CONVERT_ENUM_COUNT);
    struct convert_labels *labels = &labels_cache[which];
    if (labels_verified[which]) return labels;

    static bool callback_registered = false;
    if (!callback_registered) {
        CacheRegisterSyscacheCallback(TYPEOID, labels_on_type_change, (Datum) 0);
        callback_registered = true;
    }

    /* The extension may have been dropped and created again. Then all oids have changed. */
    const char *type_name = enums[which].type_name;
    Oid type = enum_type_oid(type_name);
    if (labels->type != type) {
        labels->type = InvalidOid;
        labels->count = enums[which].count;
        for (uint32_t value = 0; value < enums[which].count; value++) {
            const char *label = enums[which].names[value];
            labels->oids[value] = label ? enum_label_oid(type, type_name, label) : InvalidOid;
        }
        labels->array_type = get_array_type(type);
        labels->type = type;
    }
    labels_verified[which] = true;
    return labels;
}

Datum
convert_label(const struct convert_labels *labels, uint32_t value)
{
    assert(value < labels->count);
    assert(OidIsValid(labels->oids[value]));
    return ObjectIdGetDatum(labels->oids[value]);
}

Datum
convert_status(const struct convert_labels *labels, uint32_t status)
{
    assert(status != CONVERT_CREATED);
    return convert_label(labels, status == STATUS_CREATED ? CONVERT_CREATED : status);
}

enum pending_status
convert_hold_state(Datum datum)
{
    const struct convert_labels *labels = convert_labels(CONVERT_HOLD_STATE);
    for (uint32_t state = PENDING_PENDING; state < labels->count; state++) {
        if (labels->oids[state] == DatumGetObjectId(datum)) return (enum pending_status) state;
    }
    return PENDING_NONE;
}
